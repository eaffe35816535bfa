"""Holds what clients saw against what was in the streams. Pure, and fast where all is well.

See the package's docstring for what the findings mean.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson

from tests.chaos.history import (
    Block,
    Chain,
    Id,
    Kind,
    Ledger,
    Recording,
    Subscription,
    accepts,
    id_of,
)
from tests.chaos.truth import Entry, Truth

_KEEP = 1000
_NONE = -1  # no block


class Fault(Enum):
    """The faults of a delivery."""

    LOST = "lost"
    DUPLICATE = "duplicate"
    REORDERED = "reordered"
    PHANTOM = "phantom"
    LEAKED = "leaked"
    CORRUPT = "corrupt"
    FATAL = "fatal"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, with the place in the chain's log where it was found."""

    fault: Fault
    chain: str
    stream: str
    id: Id | None
    text: str
    place: int


@dataclass
class Report:
    """The result of a check.

    Attributes:
        deliveries: events that clients got, each counted once per client.
        resets: by reason.
        needless: resets of a cursor that was valid all the time. A reset for an unreadable cursor
            counts too, since no client sends one.
        states: that clients got.
        holes: of these, the states that said that something may be missing.
        counts: findings by fault; `findings` keeps the first of them.
    """

    chains: int = 0
    deliveries: int = 0
    connections: int = 0
    resets: Counter[str] = field(default_factory=Counter)
    needless: int = 0
    states: int = 0
    holes: int = 0
    counts: Counter[Fault] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """True if nothing was found."""
        return not self.counts

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.counts[finding.fault] += 1
        if len(self.findings) < _KEEP:
            self.findings.append(finding)


def check(recording: Recording, ledger: Ledger) -> Report:
    """Check all chains of a recording.

    Raises:
        ValueError: the ledger contradicts itself.
    """
    truth, report = Truth(ledger, recording.blocks), Report()
    plans: dict[Subscription, _Plan] = {}
    for chain in recording.chains:
        plan = plans.get(chain.subscription)
        if plan is None:
            plan = plans[chain.subscription] = _Plan(chain.subscription, truth, recording.blocks)
        _Walk(plan, chain, report).run()
    return report


class _Plan:
    """Judges each block for the clients of one subscription.

    Attributes:
        follows: for each block, an event that may come right after it. It was found for a client
            that was at the block's id and lacked nothing. It is valid for all such clients, so it
            is looked up only once. The last item is for the time before any block.
    """

    def __init__(self, subscription: Subscription, truth: Truth, blocks: list[Block]) -> None:
        self.subscription = subscription
        self.truth = truth
        self.blocks = blocks
        self.entries = {name: self._accepted(name) for name in subscription.streams}
        self.ids = {name: [e.id for e in found] for name, found in self.entries.items()}
        self.follows = array("i", [_NONE]) * (len(blocks) + 1)
        self._positions: list[dict[str, Id] | None] = [None] * len(blocks)

    def positions(self, number: int) -> dict[str, Id]:
        """The positions that the id of a block names."""
        found = self._positions[number]
        if found is None:
            found = self.blocks[number].positions(self.subscription.streams)
            self._positions[number] = found
        return found

    def _accepted(self, stream: str) -> list[Entry]:
        found = self.truth.streams.get(stream, {}).values()
        wanted = [e for e in found if accepts(self.subscription, stream, e.key, e.type)]
        return sorted(wanted, key=lambda entry: entry.id)

    def judge(self, number: int, moved: list[str]) -> tuple[str, Entry | None, Fault | None]:
        """Tell which entry an event is.

        Args:
            number: of its block.
            moved: streams whose position in its id is not the client's.

        Returns:
            Its stream, the entry that its id names, if any, and what is wrong by itself.
        """
        block, positions = self.blocks[number], self.positions(number)
        known = self.truth.by_digest.get(block.digest)
        stream = (*moved, *self.subscription.streams)[0]
        if known is not None and known.stream in positions:
            stream = known.stream
        entry = self.truth.streams.get(stream, {}).get(positions.get(stream, (-1, -1)))
        foreign = known is not None and not self._is_wanted(known)
        if entry is None:
            return stream, None, Fault.LEAKED if foreign else Fault.PHANTOM
        if (entry.digest, entry.type) != (block.digest, block.type):
            return stream, entry, Fault.LEAKED if foreign else Fault.CORRUPT
        return stream, entry, None if self._is_wanted(entry) else Fault.LEAKED

    def _is_wanted(self, entry: Entry) -> bool:
        return accepts(self.subscription, entry.stream, entry.key, entry.type)


class _Position:
    """The position of a chain in one stream.

    Attributes:
        at: the last id that was claimed, or None before the first.
        missing: events that were skipped. They may still come late.
        doomed: entries that were seen or stood at, and are gone later: a reset must come before
            what follows.
        superseded: so many events may still be missing, as a later one of the same key and type
            comes instead.
    """

    __slots__ = ("at", "doomed", "missing", "superseded")

    def __init__(self) -> None:
        self.at: Id | None = None
        self.missing: dict[Id, Entry] = {}
        self.doomed: list[Entry] = []
        self.superseded = 0


class _Walk:
    """Goes through one chain."""

    def __init__(self, plan: _Plan, chain: Chain, report: Report) -> None:
        self._plan = plan
        self._chain = chain
        self._report = report
        self._positions = {name: _Position() for name in plan.subscription.streams}
        self._over = False
        self._place = 0
        self._with_state: set[str] = set()  # their states are complete at `stream.live`
        self._skipped = 0  # events that were superseded

    def run(self) -> None:
        """Check it, and add to the report."""
        self._report.chains += 1
        follows, at, quick = self._plan.follows, _NONE, 0
        for place, number in enumerate(self._chain.log):
            if number >= 0 and follows[at] == number:  # the way of nearly all deliveries
                at = number
                quick += 1
                continue
            self._place = place
            self._go_on_from(at)
            if number >= 0:
                at = self._look_at(number, at)
            else:
                self._take_note(*self._chain.notes[-1 - number])
        self._report.deliveries += quick
        self._go_on_from(at)
        self._end()

    def _go_on_from(self, at: int) -> None:
        """Take over where the quick way has come to."""
        if at != _NONE:
            for name, id_ in self._plan.positions(at).items():
                self._positions[name].at = id_

    def _look_at(self, number: int, at: int) -> int:
        """Judge a block. Return its number if the chain is at its id and whole, else `_NONE`."""
        found, skipped = self._report.counts.total(), self._skipped
        self._take(number)
        if not self._is_exactly_at(number):
            return _NONE
        is_event = self._plan.blocks[number].kind is Kind.EVENT
        is_next = self._report.counts.total() == found and self._skipped == skipped
        if is_event and at != _NONE and is_next:
            self._plan.follows[at] = number
        return number

    def _is_exactly_at(self, number: int) -> bool:
        claimed = self._plan.positions(number)
        return not self._over and all(
            position.at is not None
            and position.at == claimed.get(name)
            and not position.missing
            and not position.doomed
            for name, position in self._positions.items()
        )

    def _take_note(self, what: str, value: str) -> None:
        if what == "connect":
            self._with_state.clear()
            self._report.connections += 1
        elif what == "fatal" or ((what, value) == ("status", "204") and not self._over):
            self._find(Fault.FATAL, "", None, f"{what} {value}")

    def _take(self, number: int) -> None:
        block, stream = self._plan.blocks[number], ""
        if block.kind is Kind.EVENT:
            self._report.deliveries += 1
            stream = self._event(number)
        elif block.kind is Kind.RESET:
            self._reset(orjson.loads(block.data))
        elif block.kind is Kind.STATE:
            self._with_state.add(_stream_of(orjson.loads(block.data)))
        elif block.kind is Kind.LIVE:
            self._go_on_from_states(number)
        elif block.kind is Kind.SUPERSEDED:
            self._superseded(orjson.loads(block.data))
        for name, id_ in self._plan.positions(number).items():
            position = self._positions[name]
            if name == stream or id_ == position.at:
                continue
            if position.at is not None and id_ < position.at:
                self._find(Fault.REORDERED, name, id_, f"the position went back from {position.at}")
            else:
                found = self._plan.truth.streams.get(name, {}).get(id_)
                self._go_to(name, id_, found.last if found else self._plan.truth.era.get(name, 0))
                self._stand_at(name, id_)

    def _event(self, number: int) -> str:
        positions = self._plan.positions(number)
        moved = [name for name, id_ in positions.items() if id_ != self._positions[name].at]
        stream, entry, fault = self._plan.judge(number, moved)
        if fault is not None:
            type_ = self._plan.blocks[number].type
            self._find(fault, stream, positions.get(stream), f"type {type_!r}")
        if entry is None or fault is Fault.LEAKED:
            return stream
        position = self._positions[stream]
        if position.at is None or entry.id > position.at:
            self._go_to(stream, entry.id, entry.last, delivered=True)
        elif position.missing.pop(entry.id, None):
            self._find(Fault.REORDERED, stream, entry.id, f"came late, at {position.at}")
        elif fault is None:
            self._find(Fault.DUPLICATE, stream, entry.id, f"again, at {position.at}")
        self._supersede(position, entry)
        self._stand_at(stream, entry.id)
        self._over = self._over or entry.type in self._plan.subscription.terminal
        return stream

    def _go_to(self, stream: str, id_: Id, era: int, *, delivered: bool = False) -> None:
        """The position moves on: what lies between must have been delivered."""
        position = self._positions[stream]
        for entry in self._between(stream, position.at, id_, era):
            if entry.id != id_ or not delivered:
                position.missing[entry.id] = entry
        for entry in position.doomed:
            if entry.last < era:
                self._find(Fault.PHANTOM, stream, entry.id, f"is gone, and no reset before {id_}")
        position.doomed = [entry for entry in position.doomed if entry.last >= era]
        position.at = id_

    def _stand_at(self, stream: str, id_: Id) -> None:
        """Note an entry that a client has reached. If it is lost, a reset is due."""
        entry = self._plan.truth.streams.get(stream, {}).get(id_)
        if entry is not None and entry.last < self._plan.truth.era[stream]:
            self._positions[stream].doomed.append(entry)

    def _between(self, stream: str, after: Id | None, to: Id, era: int) -> list[Entry]:
        """The events that a client must get between two positions, without those gone by then."""
        ids, entries = self._plan.ids[stream], self._plan.entries[stream]
        if after is not None:
            found = entries[bisect_right(ids, after) : bisect_right(ids, to)]
        elif self._plan.subscription.earliest:
            # The trim position at that time is unknown, but retained entries were not trimmed.
            found = [e for e in entries[: bisect_right(ids, to)] if e.retained]
        else:
            return []
        return [e for e in found if e.first <= era <= e.last and e.certain]

    def _reset(self, told: dict[str, str]) -> None:
        stream, resumed = told["channel"], id_of(told["resumed"])
        self._report.resets[told["reason"]] += 1
        if stream not in self._positions or resumed is None:
            self._find(Fault.CORRUPT, stream, resumed, f"a reset that can't be: {told}")
            return
        truth, position = self._plan.truth, self._positions[stream]
        cursor = truth.streams.get(stream, {}).get(id_of(told["requested"]) or (-1, -1))
        self._report.needless += told["reason"] == "invalid" or bool(cursor and cursor.retained)
        if told.get("state"):
            self._skip(position, list(position.missing))
        self._flush(stream)
        now = truth.era_at(stream, self._chain.times[self._place])
        if told.get("state"):  # it is complete at `stream.live`
            return
        passed = self._between(stream, position.at, resumed, now) if position.at else []
        for entry in passed:
            if entry.retained or entry.last < truth.era[stream]:  # it was there when the reset came
                self._find(Fault.LOST, stream, entry.id, f"a reset went past it, to {resumed}")
        position.doomed.clear()
        position.at = resumed
        self._stand_at(stream, resumed)

    def _go_on_from_states(self, number: int) -> None:
        """Go where the states that were sent end; `values` checks what they say."""
        for stream in self._with_state:
            position = self._positions[stream]
            # It has what a pass had still to bring when it was cut.
            self._skip(position, list(position.missing))
            position.superseded = 0
            position.doomed.clear()
            position.at = self._plan.positions(number)[stream]
            self._stand_at(stream, position.at)
        self._with_state.clear()

    def _superseded(self, told: dict[str, Any]) -> None:
        """Events will be missing. This is no loss of those that a later event supersedes."""
        self._positions[_stream_of(told)].superseded += told["events"]

    def _supersede(self, position: _Position, newer: Entry) -> None:
        if not position.superseded or newer.type in self._plan.subscription.terminal:
            return
        older = [
            id_
            for id_, entry in position.missing.items()
            if id_ < newer.id and (entry.key, entry.type) == (newer.key, newer.type)
        ]
        self._skip(position, older)

    def _skip(self, position: _Position, ids: list[Id]) -> None:
        """Take note that newer events, or a state, came in the place of these."""
        for id_ in ids[: position.superseded]:
            del position.missing[id_]
            position.superseded -= 1
            self._skipped += 1

    def _flush(self, stream: str) -> None:
        position = self._positions[stream]
        for id_ in position.missing:
            self._find(Fault.LOST, stream, id_, "was passed over")
        position.missing.clear()

    def _end(self) -> None:
        self._place = len(self._chain.log)
        for stream, position in self._positions.items():
            if self._chain.complete and not self._over:
                ids, era = self._plan.ids[stream], self._plan.truth.era.get(stream, 0)
                if ids and (position.at is None or ids[-1] > position.at):
                    for entry in self._between(stream, position.at, ids[-1], era):
                        position.missing[entry.id] = entry
                for entry in position.doomed:
                    self._find(Fault.PHANTOM, stream, entry.id, "is gone, and no reset at all")
            self._flush(stream)

    def _find(self, fault: Fault, stream: str, id_: Id | None, text: str) -> None:
        self._report.add(Finding(fault, self._chain.name, stream, id_, text, self._place))


def _stream_of(told: dict[str, Any]) -> str:
    """Return the stream that an event of the hub's own is about."""
    shard = f".{told['shard']}" if "shard" in told else ""
    return f"{told['channel']}{shard}"
