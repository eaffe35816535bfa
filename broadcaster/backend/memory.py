"""A log in this process's memory: for tests, and to try the hub without Redis."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from operator import attrgetter
from typing import Any

from broadcaster.backend.clock import own_ms
from broadcaster.backend.log import Retained, Status
from broadcaster.core.entry import frame_of
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.history.window import Window
from broadcaster.core.log import (
    Answer,
    AtOrBefore,
    Batch,
    Beginning,
    Change,
    Entry,
    Exists,
    Known,
    PageAfter,
    Past,
    Question,
    Restart,
    Rewind,
)
from broadcaster.core.run import Standing, key_of
from broadcaster.core.sse import Frame

_PAGE_COUNT = 1000
_id = attrgetter("id")


class _Stream:
    """One stream.

    Attributes:
        frames: the retained frames, in order.
        last: the greatest id that was ever added and not taken back.
        whole: True if no entry was ever removed.
        trimmed: the greatest id that was ever removed from the old end.
        rewinds: the positions of all rewinds, in order.
        changed: set, and replaced by a new event, at each change.
    """

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.last = ZERO
        self.whole = True
        self.trimmed = ZERO
        self.rewinds: list[EventId] = []
        self.changed = asyncio.Event()

    def notify(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def after(self, position: EventId) -> list[Frame]:
        return self.frames[bisect_right(self.frames, position, key=_id) :]

    def up_to(self, position: EventId) -> list[Frame]:
        return self.frames[: bisect_right(self.frames, position, key=_id)]

    def find(self, position: EventId) -> Frame | None:
        index = bisect_left(self.frames, position, key=_id)
        found = self.frames[index : index + 1]
        return found[0] if found and found[0].id == position else None

    def proves(self, position: EventId) -> bool:
        """Return True if the entry of a position is here, or if it is just before the oldest."""
        if position == ZERO:
            return self.whole
        following = self.after(position)
        is_before = bool(following) and following[0].id.before() == position
        may_begin = position.is_boundary or not self.up_to(position)
        return (is_before and may_begin) or self.find(position) is not None


class MemoryLog:
    """Streams in memory; see `Log`. It also takes requests; see `Requests`.

    It belongs to one event loop. `add`, `trim`, `remove`, `rewind` and `clear` change a stream, as
    producers, trims, deletions and failovers change one in Redis.

    Attributes:
        reads: the number of calls of `ask`.
    """

    def __init__(self) -> None:
        self.reads = 0
        self._streams: defaultdict[str, _Stream] = defaultdict(_Stream)

    def add(
        self,
        stream: str,
        *,
        type: str = "message",
        key: str = "",
        data: Any = "",
        id: EventId | None = None,
    ) -> EventId:
        """Add an event, and return its id.

        Args:
            stream: the name of the stream.
            type: the SSE event name.
            key: what the event is about; `""` for the whole channel.
            data: a str or bytes goes out as it is, any other value as compact JSON.
            id: greater than all earlier ids; made from the clock if None.

        Raises:
            InvalidEventError: no node could deliver it.
            ValueError: the id is not greater than all earlier ids.
        """
        of = self._streams[stream]
        given = id or max(EventId(own_ms(), 0), of.last.after())
        if given <= of.last:
            raise ValueError(f"{given} is not greater than {of.last}")
        of.frames.append(frame_of(given, type=type, key=key, data=data))
        of.last = given
        of.notify()
        return given

    def trim(self, stream: str, length: int) -> None:
        """Remove the oldest entries, so that `length` of them remain."""
        of = self._streams[stream]
        removed = len(of.frames) - length
        if removed > 0:
            of.trimmed = of.frames[removed - 1].id
            del of.frames[:removed]
            of.whole = False
            of.notify()

    def remove(self, stream: str, id: EventId) -> None:
        """Remove one entry, as `XDEL` does. It is not reported to those that have read it."""
        of = self._streams[stream]
        found = of.find(id)
        if found:
            of.frames.remove(found)
            of.whole = False

    def rewind(self, stream: str, position: EventId) -> None:
        """Take back all entries after a position, as a failover to a late replica does."""
        of = self._streams[stream]
        of.frames = of.up_to(position)
        of.last = min(of.last, position)
        of.rewinds.append(position)
        of.notify()

    def clear(self, stream: str) -> None:
        """Remove a stream, its entries and its greatest id."""
        gone = self._streams.pop(stream, None)
        if gone:
            gone.notify()

    async def request(self, requests: str, key: str) -> EventId:
        """Add a request to the stream of that name, and return its id."""
        return self.add(requests, type="request", key=key)

    async def known(self, run: Known) -> bool:
        """Return True if the request of a run is there, or the log has an event of the run."""
        request = self._streams[run.requests].find(run.run)
        events = self._streams[run.stream].frames
        asked = request is not None and request.key == run.key
        return asked or any(frame.key == key_of(run.key, run.run) for frame in events)

    async def review(
        self, requests: str, runs: Sequence[EventId], *, strike: bool
    ) -> list[Standing]:
        """Return what became of some requests. It does not know which of them are taken."""
        of = self._streams[requests]
        found = []
        for run in runs:
            request = of.find(run)
            if request is not None and strike:
                of.frames.remove(request)
                of.whole = False
            known = Standing.STRUCK if strike else Standing.WAITING
            found.append(Standing.ABSENT if request is None else known)
        return found

    async def changes(self, stream: str, window: Window) -> AsyncGenerator[Change, None]:
        """Follow a stream for ever; see `Log.changes`."""
        of, lost = self._streams[stream], False
        while True:
            lost = (lost or self._streams[stream] is not of) and window.head > ZERO
            of = self._streams[stream]
            seen = len(of.rewinds)
            newest = of.frames[-window.max_events :]
            beginning = len(newest) == len(of.frames)
            floor = newest[0].id.before() if newest else of.last
            if beginning and of.whole:
                floor = ZERO
            parted = floor if beginning else ZERO if of.whole else window.floor
            yield Restart(floor, newest, beginning, parted if lost else None)
            lost = False
            while self._streams[stream] is of:
                changed = of.changed
                if common := of.rewinds[seen:]:
                    seen = len(of.rewinds)
                    if lost := min(common) < window.floor:
                        break
                    if min(common) < window.head:
                        yield Rewind(min(common))
                elif of.trimmed > window.head:
                    break
                elif frames := of.after(window.head)[:_PAGE_COUNT]:
                    yield Batch(frames)
                else:
                    await changed.wait()

    async def ask(self, stream: str, question: Question, reader: Reader | None = None) -> Answer:
        """Answer a question about a stream."""
        self.reads += 1
        of = self._streams[stream]
        match question:
            case Beginning():
                return of.frames[0].id.before() if of.frames else None
            case AtOrBefore(position):
                before = of.up_to(position)
                return before[-1].id if before else None
            case Entry(id_):
                return of.find(id_)
            case Exists(position):
                return of.proves(position)
            case PageAfter(position):
                frames = of.after(position)[:_PAGE_COUNT]
                return Past(frames, frames[-1].id if frames else position, of.proves(position))

    def status(self, stream: str) -> Status:
        """Return the state of following a stream. It is never behind."""
        return Status(frames=len(self._streams[stream].frames))

    async def retained(self, stream: str) -> Retained:
        """Return the number of entries of a stream."""
        return Retained(len(self._streams[stream].frames), 0)

    async def aclose(self) -> None:
        """Do nothing: a log in memory has no connections."""
