"""What chooses between a function of core and its mutants, which mutmut writes beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, NamedTuple

from mutmut.mutation import trampoline
from mutmut.utils.format_utils import mangled_name_from_mutant_name

_ORIGINAL = "_mutmut_orig"  # beside the mutants of a function, in the table of their names


class _Switch(NamedTuple):
    """One function of which there are mutants.

    Attributes:
        module: where it is.
        function: the function itself.
        mutants: their functions, by their names in the module.
        of_class: True if it is a class method.
        choose: makes the callers call another one.
    """

    module: str
    function: Any
    mutants: Mapping[str, Any]
    of_class: bool
    choose: Callable[[Any], None]

    @property
    def name(self) -> str:
        """The name under which mutmut knows the function."""
        mutant = next(name for name in self.mutants if name != _ORIGINAL)
        return mangled_name_from_mutant_name(f"{self.module}.{mutant}")


class Switches:
    """All functions of which there are mutants.

    mutmut asks for the name of the mutant at each call, in the environment. Here the mutant is
    chosen once, so that the tests are nearly as fast as without any.
    """

    def __init__(self) -> None:
        self._all: list[_Switch] = []
        self.called = set[str]()

    def install(self) -> None:
        """Take the place of mutmut's own. Code with mutants is to be imported after this."""
        vars(trampoline)["wrap_in_trampoline"] = self._wrap

    def choose(self, mutant: str) -> None:
        """Let callers call a mutant.

        Raises:
            KeyError: there is none of this name.
        """
        module, _, name = mutant.rpartition(".")
        for switch in self._all:
            if switch.module == module and name in switch.mutants:
                chosen = switch.mutants[name]
                switch.choose(_of_class(name) if switch.of_class else chosen)
                return
        raise KeyError(mutant)

    def record(self) -> None:
        """Keep the names of all functions that are called from now on, in `called`."""
        for switch in self._all:
            switch.choose(self._recording(switch.name, switch.function))

    def _wrap(self, mutants: Mapping[str, Any], is_classmethod: bool = False) -> Any:
        def wrapped(function: Any) -> Any:
            version = function

            def choose(chosen: Any) -> None:
                nonlocal version
                version = chosen

            @wraps(function)
            def call(*args: Any, **named: Any) -> Any:
                return version(*args, **named)

            module = function.__module__
            self._all.append(_Switch(module, function, mutants, is_classmethod, choose))
            return call

        return wrapped

    def _recording(self, name: str, function: Any) -> Callable[..., Any]:
        def record(*args: Any, **named: Any) -> Any:
            self.called.add(name)
            return function(*args, **named)

        return record


def _of_class(name: str) -> Callable[..., Any]:
    def call(cls: type, *args: Any, **named: Any) -> Any:
        return getattr(cls, name)(*args, **named)

    return call
