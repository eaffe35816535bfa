"""The chosen mutant is called instead of its function, and the calls of all functions are known."""

from __future__ import annotations

from typing import Any

import pytest
from mutmut.mutation import trampoline

from tests.mutants.switches import Switches

HERE = __name__


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Switches:
    monkeypatch.setattr(trampoline, "wrap_in_trampoline", None)
    switches = Switches()
    switches.install()
    return switches


def test_a_mutant_takes_the_place_of_its_function(switches: Switches) -> None:
    mutants: dict[str, Any] = {}

    @trampoline.wrap_in_trampoline(mutants)
    def add(a: int, b: int) -> int:
        return a + b

    mutants["_mutmut_orig"] = add
    mutants["x_add__mutmut_1"] = lambda a, b: a - b
    assert add(3, b=2) == 5
    switches.choose(f"{HERE}.x_add__mutmut_1")
    assert add(3, b=2) == 1
    with pytest.raises(KeyError):
        switches.choose(f"{HERE}.x_add__mutmut_2")


def test_so_does_that_of_a_class_method_in_each_subclass(switches: Switches) -> None:
    mutants: dict[str, Any] = {}

    class Base:
        @classmethod
        @trampoline.wrap_in_trampoline(mutants, is_classmethod=True)
        def named(cls, end: str) -> str:
            return cls.__name__ + end

        @classmethod
        def xǁBaseǁnamed__mutmut_1(cls, end: str) -> str:
            return end + cls.__name__

    class Derived(Base): ...

    mutants["xǁBaseǁnamed__mutmut_1"] = Base.xǁBaseǁnamed__mutmut_1
    assert Derived.named("!") == "Derived!"
    switches.choose(f"{HERE}.xǁBaseǁnamed__mutmut_1")
    assert Derived.named("!") == "!Derived"


def test_calls_are_recorded_by_the_names_that_mutmut_has(switches: Switches) -> None:
    mutants: dict[str, Any] = {}

    @trampoline.wrap_in_trampoline(mutants)
    def double(a: int) -> int:
        return 2 * a

    mutants["x_double__mutmut_1"] = lambda a: None
    switches.record()
    assert switches.called == set()
    assert double(2) == 4
    assert switches.called == {f"{HERE}.x_double"}
