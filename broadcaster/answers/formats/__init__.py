"""The formats of answers. Each module writes the events that one library of clients knows. Pure.

A format is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from broadcaster.errors import ConfigurationError

_AG_UI = "ag-ui"
_MODULES = {_AG_UI: "ag_ui", "ai-sdk": "ai_sdk", "openai": "openai"}

TEXT, COMPLETE = "text", "complete"
"""The types of the events of an answer: a part of its text, and its end."""


class Format(Protocol):
    """Turns the events of one run into the bytes of one response."""

    headers: tuple[tuple[bytes, bytes], ...]

    def begin(self, run: str, began_ms: int) -> bytes:
        """Return the first bytes of the response.

        Args:
            run: the id of the run.
            began_ms: milliseconds since 1970 at which the run began.
        """

    def event(self, type_: str, data: str) -> bytes:
        """Return the bytes of one event. Those of a terminal event end the response."""


def format_of(name: str, **options: Any) -> Format:
    """Return a new format by its name.

    Args:
        name: of the format.
        options: as its module takes them.

    Raises:
        ConfigurationError: there is none of this name.
    """
    if name not in _MODULES:
        raise ConfigurationError(f"there is no format {name!r}: {', '.join(sorted(_MODULES))}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    made: Format = module.make(**options)
    return made


def format_for(name: str, chat_id: str, run_name: str = "") -> Format:
    """Return a new format of a response about a chat. Raises as `format_of`.

    Args:
        name: of the format.
        chat_id: the client's name of the chat.
        run_name: the client's name of the answer, if it gave one.
    """
    if name == _AG_UI:
        return format_of(name, thread=chat_id, run=run_name)
    return format_of(name)
