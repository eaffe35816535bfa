"""The logs of producers and clients. They are compact in memory, and NDJSON on disk.

Many clients get the same bytes. Each distinct block of an event stream is therefore kept and parsed
once. The log of a client is an array of numbers of blocks.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import orjson

Id = tuple[int, int]
"""The id of an entry, to compare."""

ZERO: Id = (0, 0)
_ID = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)


def id_of(text: str) -> Id | None:
    """Read an id as Redis writes it. Return None if the text is not an id."""
    match = _ID.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def text_of(id_: Id) -> str:
    """Write an id as Redis does."""
    return f"{id_[0]}-{id_[1]}"


def digest_of(data: bytes) -> str:
    """Identifies the data of one event."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Subscription:
    """The subscription of a client, as the scenario means it. It is not read from the hub.

    Attributes:
        streams: names of channels; their streams have the same names here.
        keys: only events with one of these keys; none means all.
        types: only events of these types; none means all.
        terminal: an event of one of these types is the last one.
        earliest: it begins at the oldest entry, else at the newest.
    """

    streams: tuple[str, ...]
    keys: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    terminal: tuple[str, ...] = ()
    earliest: bool = False


@dataclass(slots=True)
class Added:
    """An `XADD`: what was to be added, and what Redis said.

    Attributes:
        seq: the producer's own count.
        id: of the entry, or None if no reply came. In this case the entry may or may not exist.
        sent_s, acked_s: of the monotonic clock, which all processes share.
        data: of the event, if its channel has a state.
    """

    stream: str
    seq: int
    digest: str
    key: str
    type: str
    sent_s: float
    id: Id | None = None
    acked_s: float = 0.0
    data: str = ""


@dataclass(slots=True)
class Cut:
    """A change of a stream's history. Entries that are not in `kept` are gone.

    Attributes:
        at_s: when it happened. Events that are sent later belong to the new history.
        kept: the ids that survived. Entries older than the oldest of them were trimmed before, and
            count as trimmed. If there are no ids, no entry survived.
    """

    stream: str
    at_s: float
    kept: list[Id]


@dataclass
class Ledger:
    """All that was done to the streams, and what they held at the end.

    Attributes:
        states: the streams of channels with a state, and how their events are folded.
    """

    added: list[Added] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    final: dict[str, dict[Id, str]] = field(default_factory=dict)  # id -> digest
    states: dict[str, str] = field(default_factory=dict)

    def last_of(self, subscription: Subscription) -> dict[str, Id]:
        """The last event of a subscription in each of its streams, of those that are there.

        An event whose `XADD` was cut off before the reply counts, too, if it is there.
        """
        last: dict[str, Id] = {}
        places = {
            stream: {digest: id_ for id_, digest in entries.items()}
            for stream, entries in self.final.items()
        }
        for entry in self.added:
            id_ = entry.id or places.get(entry.stream, {}).get(entry.digest)
            there = id_ in self.final.get(entry.stream, {}) or not self.final
            wanted = accepts(subscription, entry.stream, entry.key, entry.type)
            if id_ and there and wanted:
                last[entry.stream] = max(id_, last.get(entry.stream, ZERO))
        return last

    def lines(self) -> Iterator[dict[str, Any]]:
        """As NDJSON."""
        yield from ({"kind": "added", **asdict(entry)} for entry in self.added)
        yield from ({"kind": "cut", **asdict(cut)} for cut in self.cuts)
        for stream, entries in self.final.items():
            for id_, digest in entries.items():
                yield {"kind": "final", "stream": stream, "id": id_, "digest": digest}


def accepts(subscription: Subscription, stream: str, key: str, type_: str) -> bool:
    """Return True if an event is part of a subscription."""
    return (
        stream in subscription.streams
        and (not subscription.keys or key in subscription.keys)
        and (not subscription.types or type_ in (*subscription.types, *subscription.terminal))
    )


class Kind(Enum):
    """The meaning of a block for a client. A value is an event without an id, a part of a state."""

    EVENT = "event"
    LIVE = "live"
    RESET = "reset"
    STATE = "state"
    VALUE = "value"
    SUPERSEDED = "superseded"
    CHECKPOINT = "checkpoint"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Block:
    """A block, parsed as a client does: the bytes up to a blank line.

    Attributes:
        id: None where it has no `id:`.
        retry_ms: None where it has no `retry:`.
        data: of the hub's own events and of values. For all others the digest is enough.
    """

    kind: Kind
    id: str | None = None
    type: str = ""
    digest: str = ""
    retry_ms: int | None = None
    data: str = ""

    def positions(self, streams: tuple[str, ...]) -> dict[str, Id]:
        """The positions of these streams in its id, without unreadable ones."""
        if not self.id:
            return {}
        if "=" not in self.id:
            only = id_of(self.id)
            return {streams[0]: only} if only and len(streams) == 1 else {}
        named = (part.partition("=") for part in self.id.split(","))
        found = {name: id_of(text) for name, _, text in named if name in streams}
        return {name: id_ for name, id_ in found.items() if id_ is not None}


class Chain:
    """The log of one client, in order.

    Attributes:
        name: identifies the client.
        subscription: the events that it asked for.
        log: a block's number, or -1 - the number of a note.
        times: the monotonic time of each.
        notes: pairs of a kind (`connect`, `disconnect`, `status`, `fatal`) and its details.
        complete: the client stayed to the end, so it must have received every event.
    """

    __slots__ = ("complete", "log", "name", "notes", "subscription", "times")

    def __init__(self, name: str, subscription: Subscription) -> None:
        self.name = name
        self.subscription = subscription
        self.log = array("i")
        self.times = array("d")
        self.notes: list[tuple[str, str]] = []
        self.complete = False

    def note(self, what: str, value: str, at_s: float) -> None:
        """Log something that is no block."""
        self.notes.append((what, value))
        self.log.append(-len(self.notes))
        self.times.append(at_s)

    def block(self, number: int, at_s: float) -> None:
        """Log a block."""
        self.log.append(number)
        self.times.append(at_s)


@dataclass
class Recording:
    """The logs of all clients."""

    blocks: list[Block] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it: blocks, then chains, a line each."""
        with path.open("wb") as file:
            for block in self.blocks:
                file.write(_line({**asdict(block), "kind": block.kind.value}))
            for chain in self.chains:
                file.write(_line(_as_dict(chain)))

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `save` wrote."""
        recording = cls()
        with path.open("rb") as file:
            for line in file:
                read = orjson.loads(line)
                if "chain" in read:
                    recording.chains.append(_chain(read))
                else:
                    recording.blocks.append(Block(**{**read, "kind": Kind(read["kind"])}))
        return recording

    def lines(self, wanted: Callable[[Chain], bool]) -> Iterator[dict[str, Any]]:
        """Chains for people: a line for each record."""
        for chain in filter(wanted, self.chains):
            for number, at_s in zip(chain.log, chain.times, strict=True):
                line: dict[str, Any] = {"client": chain.name, "at_s": round(at_s, 4)}
                if number < 0:
                    what, value = chain.notes[-1 - number]
                    yield {**line, "kind": what, "value": value}
                else:
                    block = asdict(self.blocks[number])
                    shown = {k: v for k, v in block.items() if v not in (None, "")}
                    yield {**line, **shown, "kind": self.blocks[number].kind.value}


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write NDJSON."""
    with path.open("wb") as file:
        file.writelines(map(_line, lines))


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value) + b"\n"


def _as_dict(chain: Chain) -> dict[str, Any]:
    return {
        "chain": chain.name,
        "subscription": asdict(chain.subscription),
        "complete": chain.complete,
        "notes": chain.notes,
        "log": chain.log.tolist(),
        "times": chain.times.tolist(),
    }


def _chain(read: dict[str, Any]) -> Chain:
    chain = Chain(read["chain"], subscription_from(read["subscription"]))
    chain.complete = read["complete"]
    chain.notes = [(what, value) for what, value in read["notes"]]
    chain.log = array("i", read["log"])
    chain.times = array("d", read["times"])
    return chain


def subscription_from(read: dict[str, Any]) -> Subscription:
    """Read a subscription from JSON, where tuples are lists."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in read.items()}
    return Subscription(**fields)
