"""Holds what clients have of states against what the published events add up to. Pure.

A client keeps what it is sent of each channel with a state: it forgets everything at `stream.state`
and folds events as they come, with an id or without. At each `stream.live`, and in the end, it must
have exactly the fold of the events up to its position. If the state said `since`, it is the fold of
those after that. Nothing may be missing otherwise.
"""

from __future__ import annotations

from bisect import bisect_right

import orjson

from tests.chaos.checker import Fault, Finding, Report
from tests.chaos.folds import Held, take
from tests.chaos.history import (
    ZERO,
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

_LAST: Id = (1 << 64, 0)
_SHOWN = 100
_STEP = 256


def check_values(recording: Recording, ledger: Ledger, report: Report) -> None:
    """Check the values of all chains, and add to the report.

    Raises:
        ValueError: the ledger contradicts itself.
    """
    if not any(block.kind in (Kind.STATE, Kind.VALUE) for block in recording.blocks):
        return
    expected = _Expected(ledger, Truth(ledger, recording.blocks))
    for chain in recording.chains:
        _Walk(chain, recording.blocks, expected, report).run()


class _Expected:
    """The folds of what was published.

    Attributes:
        truth: the entries.
        kinds: how the events of each stream are folded; only of those with a state.
        data: of each event, by its digest.
    """

    def __init__(self, ledger: Ledger, truth: Truth) -> None:
        self.truth = truth
        self.kinds = ledger.states
        self.data = {added.digest: added.data for added in ledger.added}
        self._made: dict[tuple[Subscription, str, int, int], list[Held]] = {}
        self._chosen: dict[tuple[Subscription, str, int], list[Entry]] = {}

    def fold(
        self, subscription: Subscription, stream: str, since: Id | None, to: Id, at_s: float
    ) -> Held:
        """Return what the events of a subscription add up to.

        Args:
            subscription: chooses the events.
            stream: of the events.
            since: only events after this.
            to: only events up to this. If it is an entry, the history is that of the entry.
            at_s: else, the history is that of this time.
        """
        place = self.truth.streams.get(stream, {}).get(to)
        era = place.last if place else self.truth.era_at(stream, at_s)
        entries = self._entries(subscription, stream, era)
        begin, end = (bisect_right(entries, id_, key=_id) for id_ in (since or ZERO, to))
        # A snapshot of every so many events: a copy for each position would be too large.
        made = self._made.setdefault((subscription, stream, begin, era), [{}])
        count = max(0, end - begin) // _STEP
        while len(made) <= count:
            start = begin + (len(made) - 1) * _STEP
            made.append(self._folded(made[-1], entries[start : start + _STEP]))
        return self._folded(made[count], entries[begin + count * _STEP : end])

    def _folded(self, held: Held, entries: list[Entry]) -> Held:
        folded = held.copy()
        for entry in entries:
            take(folded, self.kinds[entry.stream], entry.type, self.data[entry.digest])
        return folded

    def _entries(self, subscription: Subscription, stream: str, era: int) -> list[Entry]:
        """Return the events of a subscription that existed in an era, in order."""
        chosen = self._chosen.get((subscription, stream, era))
        if chosen is None:
            chosen = [
                entry
                for entry in self.truth.streams.get(stream, {}).values()
                if accepts(subscription, stream, entry.key, entry.type)
                and entry.first <= era <= entry.last
            ]
            chosen.sort(key=_id)
            self._chosen[subscription, stream, era] = chosen
        return chosen


def _id(entry: Entry) -> Id:
    return entry.id


class _Walk:
    """Goes through one chain.

    Attributes:
        held: what the client has of each stream. Streams that it has only events of are missing.
        since: what the state of each stream has said.
        loading: the streams whose state is not complete, with the number of keys that was said.
    """

    def __init__(
        self, chain: Chain, blocks: list[Block], expected: _Expected, report: Report
    ) -> None:
        self.held: dict[str, Held] = {}
        self.since: dict[str, Id | None] = {}
        self.loading: dict[str, int] = {}
        self._stream = ""  # whose state comes now
        self._chain = chain
        self._blocks = blocks
        self._expected = expected
        self._report = report
        self._place = 0

    def run(self) -> None:
        """Check it, and add to the report."""
        for place, number in enumerate(self._chain.log):
            self._place = place
            if number >= 0:
                self._take(self._blocks[number])
            else:
                self.loading.clear()
        if self._chain.complete:
            for stream in self.held:
                self._compare(stream, _LAST, "in the end")

    def _take(self, block: Block) -> None:
        positions = block.positions(self._chain.subscription.streams)
        if block.kind is not Kind.LIVE and self.loading.keys() & positions.keys():
            self._find(self._stream, "a position before the state is complete")
        match block.kind:
            case Kind.STATE:
                self._begin(block)
            case Kind.VALUE if not self.loading:
                self._find("", "an event without an id, and outside of a state", Fault.PHANTOM)
            case Kind.VALUE:
                self._fold(self._stream, block.type, block.data)
            case Kind.EVENT:
                known = self._expected.truth.by_digest.get(block.digest)
                if known is not None and known.stream in self.held:
                    self._fold(known.stream, known.type, self._expected.data[block.digest])
            case Kind.RESET:
                told = orjson.loads(block.data)
                if told["channel"] in self._expected.kinds and not told.get("state"):
                    self._find(told["channel"], "a reset without the state")
            case Kind.LIVE:
                self._live(block)

    def _begin(self, block: Block) -> None:
        told = orjson.loads(block.data)
        stream = self._stream = told["channel"]
        self.held[stream] = {}
        self.since[stream] = id_of(told.get("since", ""))
        self.loading[stream] = told["keys"]
        self._report.states += 1
        self._report.holes += "since" in told

    def _fold(self, stream: str, type_: str, data: str) -> None:
        take(self.held[stream], self._expected.kinds[stream], type_, data)

    def _live(self, block: Block) -> None:
        positions = block.positions(self._chain.subscription.streams)
        for stream in self.held:
            held = self._compare(stream, positions[stream], "at stream.live")
            said = self.loading.get(stream)
            if said not in (None, len(held)) and not self._chain.subscription.types:
                self._find(stream, f"{said} keys were said, and there are {len(held)}")
        self.loading.clear()

    def _compare(self, stream: str, to: Id, when: str) -> Held:
        subscription, since = self._chain.subscription, self.since[stream]
        at_s = self._chain.times[self._place]
        right = self._expected.fold(subscription, stream, since, to, at_s)
        held = self.held[stream]
        if held != right:
            keys = [key for key in {**right, **held} if held.get(key) != right.get(key)]
            has, due = (f"{of.get(keys[0])}"[-_SHOWN:] for of in (held, right))
            differ = f"{when} {len(keys)} keys differ, since {since}: {keys[0]}"
            self._find(stream, f"{differ} is {has}, not {due}")
            self.held[stream] = right  # one fault is told once
        return right

    def _find(self, stream: str, text: str, fault: Fault = Fault.WRONG) -> None:
        self._report.add(Finding(fault, self._chain.name, stream, None, text, self._place))
