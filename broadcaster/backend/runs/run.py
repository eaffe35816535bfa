"""A run for the worker that answers it: its events are published once each. Part of `backend`.

Each batch of events is written by a script that compares the attempt and the number of the batch
with the run's record. So a worker that takes over goes on exactly where the last one stopped. A
stalled worker that wakes up can't publish.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import msgpack

from broadcaster.backend.publishing.outgoing import NewEntry
from broadcaster.backend.runs.outbox import Outbox, Texts
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.values import Begun, Piece, Write
from broadcaster.core.runs.record import RunState
from broadcaster.errors import (
    BackendUnavailableError,
    BroadcasterError,
    RunLostError,
    RunStoppedError,
)

Encoder: TypeAlias = Callable[[str, str, Any], NewEntry]
"""Makes the entry of an event from its type, key and data. Raises an `InvalidEventError`."""

_WRITTEN, _ENDED = "written", "ended"


class Run:
    """A request that this worker has taken. `RunQueue.take` makes it.

    Only one task at a time may use it. After a `BackendUnavailableError` call the same method again
    with the same arguments: it is not executed twice, even if Redis has executed the first call.

    Attributes:
        id: the name of the run.
        key: the key of the request, such as a user id.
        body: the body of the request; empty if it had none.
        attempt: 1 for the first worker that has begun it, 2 for the next one.
        pieces: everything that was published so far, by this worker and earlier ones.
        finished: True if the last event is published.
        renewed: True if a batch was written since `RunQueue.keep` last looked.
        listeners: how many clients follow it, over all nodes, as `RunQueue.keep` has learnt it some
            seconds ago; None if that is not known. Leaving is not stopping.
    """

    def __init__(
        self,
        id: str,
        begun: Begun,
        records: Records,
        *,
        encode: Encoder,
        release: Callable[[Run], object],
        outbox: Outbox,
        lease_s: float,
        now_ms: Callable[[], int],
    ) -> None:
        """Describe a run that was begun.

        Args:
            id: its name.
            begun: what Redis knows of it.
            records: of its channel.
            encode: makes the entries of its channel.
            release: called when it is over.
            outbox: writes its texts, and those of other runs.
            lease_s: seconds without a sign of life after which another worker takes it.
            now_ms: returns milliseconds since 1970, by a clock that all workers share.
        """
        self.id = id
        self.key = begun.key
        self.body = begun.body
        self.attempt = begun.attempt
        self.pieces = begun.pieces
        self.finished = False
        self.renewed = False
        self.listeners: int | None = None
        self._event_key = begun.event_key
        self._batch = begun.batch
        self._began_ms = begun.began_ms
        self._records = records
        self._encode = encode
        self._release = release
        self._lease_s = lease_s
        self._now_ms = now_ms
        # A batch of which it is not known whether it was written.
        self._unsure: tuple[bytes, bool] | None = None
        self._outbox = outbox
        self._texts = Texts(self._next_batch, self._took)

    @property
    def age_s(self) -> float:
        """Return the seconds since a worker first began it, by Redis's clock."""
        return max(0.0, (self._now_ms() - self._began_ms) / 1_000)

    @property
    def text(self) -> str:
        """Return the joined data of all pieces, which is the answer so far if they are texts."""
        return b"".join(piece.data for piece in self.pieces).decode()

    async def write(self, text: str, *, type: str = "text") -> None:
        """Publish a part of a text, such as a token, soon: joined with others of the same type.

        The first part leaves at once. Later ones are gathered for `batch_s`. All other methods
        publish first what is gathered. While Redis is away, texts wait here, and a caller that has
        written much waits with them.

        Args:
            text: the part.
            type: the SSE event name.

        Raises:
            RunStoppedError: a client has stopped the run; what was gathered is dropped.
            RunLostError: another worker has the run now, or it is over; as before.
            InvalidEventError: no node could deliver an earlier text.
            ConfigurationError: Redis refuses for good.
        """
        self._check_sure(None)
        await self._outbox.add(self._texts, type, text)

    async def flush(self) -> None:
        """Publish what `write` has gathered, and wait until it is published. Raises as `write`."""
        await self._outbox.flush(self._texts)

    def _next_batch(self, type_: str, text: str) -> Write:
        entry = self._encode(type_, self._event_key, text)
        return Write(self.id, self.attempt, self._batch + 1, [(entry, Piece(type_, text.encode()))])

    def _took(self, type_: str, text: str, said: str) -> None:
        if said != _WRITTEN:
            raise self._lost(said)
        self._batch, self.renewed = self._batch + 1, True
        self.pieces.append(Piece(type_, text.encode()))

    async def publish(self, *, type: str = "message", data: Any = None) -> None:
        """Publish a piece.

        Args:
            type: the SSE event name.
            data: as for `Publisher.publish`.

        Raises:
            RunStoppedError: a client has stopped the run; nothing was published.
            RunLostError: another worker has the run now, or it is over; nothing was published.
            InvalidEventError: no node could deliver the piece.
            BackendUnavailableError: Redis is away; call again with the same arguments.
            ConfigurationError: Redis refuses for good.
        """
        await self.flush()
        entry = self._encode(type, self._event_key, data)
        *_, text = msgpack.unpackb(entry.packed)
        piece = Piece(type, text.encode())
        await self._write([(entry, piece)], entry.packed)
        self.pieces.append(piece)

    async def restart(self) -> None:
        """Begin the answer anew. Clients get `stream.restart`, and this object forgets its pieces.

        Raises:
            RunStoppedError, RunLostError, BackendUnavailableError, ConfigurationError: as for
                `publish`.
        """
        await self._outbox.forget(self._texts)
        await self._write([], b"", restart=True)
        self.pieces = []

    async def complete(self, *, type: str = "complete", data: Any = None) -> bool:
        """Publish the last event, which ends the run.

        Returns:
            False if this worker had ended it before.

        Raises:
            RunStoppedError, RunLostError, InvalidEventError, BackendUnavailableError,
                ConfigurationError: as for `publish`.
        """
        await self.flush()
        entry = self._encode(type, self._event_key, data)
        self._check_sure(None)
        *_, text = msgpack.unpackb(entry.packed)
        said = await self._records.complete(self.id, self.attempt, type, text.encode())
        return self._end(*said, RunState.COMPLETE)

    async def fail(self, reason: str) -> bool:
        """End the run, which can't be finished: clients get `failed` with this reason.

        Returns:
            False if this worker had ended it before.

        Raises:
            RunStoppedError, RunLostError, BackendUnavailableError, ConfigurationError: as for
                `publish`.
        """
        with suppress(BroadcasterError):  # it may be what this run fails of
            await self.flush()
        said = await self._records.fail(self.id, self.attempt, reason)
        return self._end(*said, RunState.FAILED)

    def _end(self, said: str, attempt: int, state: RunState) -> bool:
        if said != _ENDED and (said, attempt) != (state, self.attempt):
            raise self._lost(said)
        self.finished = True
        self._release(self)
        return said == _ENDED

    async def _write(
        self, entries: list[tuple[NewEntry, Piece]], packed: bytes, *, restart: bool = False
    ) -> None:
        self._check_sure((packed, restart))
        self._unsure = packed, restart
        number = self._batch + 1
        try:
            said = await self._records.write(
                self.id, self.attempt, number, entries, self._lease_s, restart=restart
            )
        except BackendUnavailableError:
            raise
        except Exception:
            self._unsure = None
            raise
        self._unsure = None
        if said != _WRITTEN:
            raise self._lost(said)
        self._batch, self.renewed = number, True

    def _check_sure(self, wanted: tuple[bytes, bool] | None) -> None:
        if self._unsure is not None and wanted != self._unsure:
            raise RuntimeError(
                "it is not known whether the last piece was published: publish it again first"
            )

    def _lost(self, said: str) -> RunLostError:
        self._release(self)
        if said == RunState.STOPPED:
            return RunStoppedError(f"run {self.id} was stopped")
        why = {"lost": "another worker has it now", "absent": "Redis does not know it any more"}
        return RunLostError(f"run {self.id} is lost: {why.get(said, f'it is {said}')}")
