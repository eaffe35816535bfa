"""The result of one check of `broadcaster check`."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "problem"]


class Finding(NamedTuple):
    """The result of one check. `advice` says what to do, and is empty if all is fine."""

    level: Level
    subject: str
    text: str
    advice: str = ""
