"""The entries that really existed, and how long. Made from the ledger, used by the checker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.history import Added, Block, Cut, Id, Kind, Ledger


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that existed.

    Attributes:
        first, last: the eras in which it existed. A cut of its stream begins a new era. Trimming
            does not end an entry's existence.
        retained: it is in the stream at the end. This decides which entries a reset may go past,
            so a scenario must not trim after the reset that it is about.
        certain: Redis has confirmed it. Other entries are known only because a client got them.
    """

    stream: str
    id: Id
    digest: str
    key: str
    type: str
    first: int
    last: int
    retained: bool
    certain: bool


class Truth:
    """The entries of all streams.

    Attributes:
        streams: entries by id, for each stream.
        by_digest: entries by their data, which is different for each.
        era: the era at the end, for each stream.
    """

    def __init__(self, ledger: Ledger, blocks: Iterable[Block] = ()) -> None:
        """Join the ids that Redis replied, the entries in the streams, and the events of clients.

        Raises:
            ValueError: two entries have one id, or an entry has an unknown producer. This is an
                error of the scenario.
        """
        self.streams: dict[str, dict[Id, Entry]] = {}
        self.by_digest: dict[str, Entry] = {}
        self._cuts: dict[str, list[Cut]] = {}
        self._final = ledger.final
        for cut in sorted(ledger.cuts, key=lambda cut: cut.at_s):
            self._cuts.setdefault(cut.stream, []).append(cut)
        names = {added.stream for added in ledger.added} | ledger.final.keys()
        self.era = {name: len(self._cuts.get(name, ())) for name in names}
        for added in ledger.added:
            if added.id is not None:
                self._add(added, added.id, certain=True)
        self._find([added for added in ledger.added if added.id is None], blocks)
        self._refuse_strangers()

    def era_at(self, stream: str, at_s: float) -> int:
        """The era of a stream at a time."""
        return sum(cut.at_s < at_s for cut in self._cuts.get(stream, ()))

    def _find(self, unanswered: list[Added], blocks: Iterable[Block]) -> None:
        """Without a reply, the entry exists if the stream has it or a client got it."""
        if not unanswered:
            return
        there = {d: id_ for stream in self._final.values() for id_, d in stream.items()}
        seen = {block.digest: block for block in blocks if block.kind is Kind.EVENT}
        for added in unanswered:
            if added.digest in there:
                self._add(added, there[added.digest], certain=True)
            elif added.digest in seen:
                id_ = seen[added.digest].positions((added.stream,)).get(added.stream)
                if id_ is not None:
                    self._add(added, id_, certain=False)

    def _add(self, added: Added, id_: Id, *, certain: bool) -> None:
        stream, final = added.stream, self._final.get(added.stream, {})
        entry = Entry(
            stream,
            id_,
            added.digest,
            added.key,
            added.type,
            *self._eras(added, id_),
            retained=final.get(id_) == added.digest,
            certain=certain,
        )
        known = self.streams.setdefault(stream, {})
        if known.setdefault(id_, entry) is not entry:
            raise ValueError(f"{stream} has had two entries with the id {id_}")
        self.by_digest[added.digest] = entry

    def _eras(self, added: Added, id_: Id) -> tuple[int, int]:
        cuts = self._cuts.get(added.stream, [])
        first = sum(cut.at_s < added.sent_s for cut in cuts)
        for era, cut in enumerate(cuts[first:], first):
            trimmed = bool(cut.kept) and id_ < cut.kept[0]
            if not trimmed and id_ not in cut.kept:
                return first, era
        return first, len(cuts)

    def _refuse_strangers(self) -> None:
        for stream, entries in self._final.items():
            strangers = entries.keys() - self.streams.get(stream, {}).keys()
            if strangers:
                raise ValueError(f"{stream}: nobody has logged {sorted(strangers)[:5]}")
