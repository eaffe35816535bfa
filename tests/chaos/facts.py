"""Publishes events that change states: values that are replaced, patched, appended and removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tests.chaos.folds import APPENDED, REMOVES
from tests.chaos.producer import Producer

STREAMS = ("last", "merge", "append")
"""Channels and their kinds of a state, which have the same names."""
_REMOVED = 0.03
_TYPES = ("t0", "t1")

CHANNELS = "".join(
    f'[channels.{name}]\npath = "/{name}"\nstate = "{name}"\nremoves = ["{REMOVES}"]\n'
    + (f'append = "{APPENDED}"\n' if name == "append" else "")
    for name in STREAMS
)
"""As tables of a configuration file."""


class Facts(Producer):
    """Adds events to channels with a state, in turn."""

    def __init__(self, url: str, *rest: Any, keys: Sequence[str]) -> None:
        super().__init__(url, *rest, streams=STREAMS, keys=keys)
        self._ledger.states.update(zip(STREAMS, STREAMS, strict=True))

    def _made(self, stream: str, seq: int, key: str) -> tuple[str, bytes]:
        data: dict[str, Any] = {"key": key}
        if self._random.random() < _REMOVED:
            return REMOVES, orjson.dumps(data | {"seq": seq})
        type_ = self._random.choice(_TYPES)
        if stream == "append":
            data[APPENDED] = f"{seq} "
            if self._random.random() < 0.2:  # it is not joined with those that differ
                data["note"] = seq % 3
            if self._random.random() < 0.05:  # it stands as it is
                data = {"key": key, "note": f"{seq}"}
        elif stream == "merge":
            fields = (f"f{self._random.randrange(4)}" for _ in range(2))
            data |= {name: self._random.choice((None, seq)) for name in fields}
            data["seq"], data["in"] = seq, {f"g{seq % 3}": self._random.choice((None, [seq]))}
        else:
            data["seq"] = seq
        return type_, orjson.dumps(data)
