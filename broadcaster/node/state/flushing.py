"""Writes one fold to the checkpoint of its stream. Each flush writes only what has changed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from broadcaster.backend.checkpoints.checkpoint import Found
from broadcaster.backend.checkpoints.flush import Flush, Flushed, pieces
from broadcaster.core.state.checkpoint import Mark, field_of, packed_values
from broadcaster.core.state.fold import Fold

_MAKER_BYTES = 8
_GONE = 500


class NotWrittenError(Exception):
    """A piece of a flush was not written.

    Attributes:
        said: the reason that Redis has given. None means that the fold is over.
    """

    def __init__(self, said: Flushed | None) -> None:
        super().__init__(said)
        self.said = said


class Flushing:
    """Writes one fold to its checkpoint, and knows what the checkpoint has of it.

    Attributes:
        fold: what is written.
        over: set by the owner once the fold is not that of the log any more. What was folded of a
            lost history must not be written.
    """

    def __init__(self, fold: Fold, found: Found, flush: Flush, rules: str, shards: int) -> None:
        """Take a fold, and the checkpoint that it began with.

        Args:
            fold: up to the head. The caller folds what comes.
            found: in Redis. Without a mark, the checkpoint is begun anew.
            flush: writes.
            rules: of the fold, as they are named in a mark.
            shards: of the channel.
        """
        self.fold = fold
        self.over = False
        self._flush = flush
        self._at = found.at
        self._mark = Mark(os.urandom(_MAKER_BYTES), None, None, -1, rules, shards)
        void = found.other is not None and found.other.rules != rules
        self._begun = found.mark is not None and not void
        self._written = None if found.mark is None or found.moved else found.mark.position
        self._changed: set[str] = set(found.foreign)

    async def flush(self, added: int) -> bool:
        """Write what has changed, and then the mark.

        Args:
            added: the entries that Redis had ever added up to the fold's position.

        Returns:
            False if nothing has changed.

        Raises:
            NotWrittenError: not all of it was written. What was written may stay.
            BackendUnavailableError, ConfigurationError: as for `Flush.write`.
        """
        fold, position = self.fold, self.fold.position
        mark = self._mark._replace(position=position, since=fold.since, added=added).packed()
        self._changed |= fold.take_changed()
        if position == self._written and not self._changed:
            return False
        changed = frozenset(self._changed)
        if not self._begun:
            await self._write(at=self._mark.packed(), anew=True)
            self._begun = True
        last: dict[bytes, bytes] = {}
        for piece in pieces(_fields(fold, changed)):
            if last:
                await self._write(values=last)
            last = piece
        gone = [field_of(key) for key in changed if not fold.of_key(key)]
        await self._write(at=mark, values=last, gone=gone[:_GONE])
        for start in range(_GONE, len(gone), _GONE):
            await self._write(gone=gone[start : start + _GONE])
        self._changed -= changed
        self._written = position
        return True

    async def _write(
        self,
        *,
        at: bytes = b"",
        values: dict[bytes, bytes] | None = None,
        gone: Collection[bytes] = (),
        anew: bool = False,
    ) -> None:
        # A piece is made just before it is sent, so it may be newer than the mark of this flush.
        # The entry that proves it is as new.
        if self.over:
            raise NotWrittenError(None)
        said = await self._flush.write(
            self._at, proof=self.fold.position, at=at, values=values, gone=gone, anew=anew
        )
        if said is not Flushed.WRITTEN:
            raise NotWrittenError(said)
        self._at = at or self._at


def _fields(fold: Fold, keys: Collection[str]) -> Iterator[tuple[bytes, bytes]]:
    for key in keys:
        if values := fold.of_key(key):
            yield field_of(key), packed_values(values)
