"""A subscription in-process: the events of channels as an async iterator, without HTTP.

A listener is a subscriber like any client. It has no queue: it takes steps from the hub when its
consumer asks for more. If the consumer is slow, the listener lags, and catches up from the windows
or the log.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from broadcaster.core.event import EventId
from broadcaster.core.filter import Filter
from broadcaster.core.reading.reading import Reading, Yielded
from broadcaster.core.resume.beginning import begin_at
from broadcaster.core.resume.opening import Gone, NoContent, Opening, Refused, Serve, Verdict
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Ending, Shed
from broadcaster.errors import BackendUnavailableError, InvalidRequestError, UnknownChannelError

if TYPE_CHECKING:
    from broadcaster.node.node import Node

T = TypeVar("T")


class Listener:
    """An async iterator of `Event`, `Reset` and `Live`, made by `Application.subscribe`.

    It begins with `async with`, or when the first value is asked for. It ends after a terminal
    event, or when the node drains; `ending` says which. To go on from the same place, at this node
    or another, subscribe again with `after=listener.cursor`.

    `async with` and `aclose` free it. A cancelled wait for the next value frees it, too, and it is
    over then. One task at a time may wait for the next value.

    Attributes:
        renews: if its run is gone, a new one begins. Otherwise that is an error.
    """

    def __init__(self, node: Node, wanted: Wanted, after: str = "") -> None:
        """Describe a listener. The hub does not know it yet.

        Args:
            node: whose hub it listens to.
            wanted: channels, filters, and where to begin.
            after: the text of that beginning.
        """
        self._node = node
        self._wanted = wanted
        self._after = after
        self._reading: Reading | None = None
        self._ending: Ending | None = None
        self._woken = asyncio.Event()
        self._release: Callable[[], object] | None = None
        self.renews = True

    @property
    def ending(self) -> Ending | None:
        """Return why it is over; None while it is not.

        It is `complete` after a terminal event, `drain` if the node ends, and `client` if you have
        closed it.
        """
        return self._ending

    @property
    def cursor(self) -> str:
        """Return the position after the last value that was yielded, to give as `after`.

        It can also be a client's `Last-Event-ID`, if that wants the same channels and keys.
        """
        reading = self._reading
        return reading.cursor.decode() if reading and not reading.partial else self._after

    async def __aenter__(self) -> Listener:
        await self._freed_on_error(self._begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it, and let the hub forget it. May be called twice. It never waits."""
        self._free()

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Yielded:
        """Wait for the next value.

        Raises:
            StopAsyncIteration: it is over.
            InvalidRequestError: the request would fail again, for instance `after` is a time and
                the stream's ids lie in the future.
            BackendUnavailableError: it can't begin now. Subscribe again later.
        """
        return await self._freed_on_error(self._next)

    async def _freed_on_error(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        except BaseException:
            self._free()
            raise

    async def _next(self) -> Yielded:
        await self._begin()
        while self._reading and not self._ending:
            value = self._reading.take()
            if value is not None:
                return value
            self._woken.clear()
            if self._reading.ended:
                break
            if self._reading.advance():
                await asyncio.sleep(0)  # a long replay must not hold up the others
            else:
                await self._woken.wait()
        raise StopAsyncIteration  # which frees it

    # Its beginning

    async def _begin(self) -> None:
        if self._reading or self._ending:
            return
        found = await self._opened()
        if isinstance(found, Gone) and not self.renews:
            raise BackendUnavailableError("the run is gone")
        if isinstance(found, Gone):
            self._wanted = self._wanted.anew()
            found = await self._opened()
        match found:
            case Serve():
                self._serve(found)
            case NoContent():
                self._ending = Ending.COMPLETE
            case Refused(detail):
                raise InvalidRequestError(detail)
            case Shed():
                raise BackendUnavailableError(found.text)

    async def _opened(self) -> Verdict:
        node, now_ms = self._node, self._node.clock.now_ms()
        opening = Opening(node.hub.context, node.why_shed, self._wanted, now_ms)
        load = partial(node.loaded, self._wanted.subscription.streams)
        return await node.questions.open(opening, opening.step(), load)

    def _serve(self, serve: Serve) -> None:
        node = self._node
        reading = Reading(node.hub, node.questions, serve, self._woken.set)
        self._reading = reading
        # The hub knows the subscriber, not the listener: one that is dropped without `aclose` is
        # freed, too. The collector runs at any moment, so `_abandon` waits for a turn of the loop.
        release = weakref.finalize(self, _abandon, asyncio.get_running_loop(), reading)
        release.atexit = False
        self._release = release.detach

    # Its end

    def _free(self) -> None:
        if self._ending:
            return
        if self._reading is None:
            self._ending = Ending.CLIENT
            return
        self._reading.close()
        self._ending = self._reading.subscriber.ending
        assert self._release is not None
        self._release()


def subscribe(
    node: Node,
    channels: str | Iterable[str],
    *,
    keys: str | Iterable[str] = (),
    types: str | Iterable[str] = (),
    after: str | EventId | None = None,
    filter: Filter | None = None,
) -> Listener:
    """Make a listener; `Application.subscribe` says what each argument means."""
    chosen = []
    for name in _several(channels):
        if name not in node.settings.channels:
            raise UnknownChannelError(name, node.settings.channels)
        chosen.append(node.settings.channels[name])
    subscription = Subscription.to(chosen, _several(keys), _several(types), _checked(filter))
    if not after:
        return Listener(node, Wanted(tuple(chosen), subscription))
    wanted = begin_at(str(after), tuple(chosen), subscription, node.clock.now_ms())
    return Listener(node, wanted, str(after))


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _checked(filter: Filter | None) -> Filter | None:
    """Return a filter. Raise a `TypeError` if it can't be one: events would show it much later."""
    if filter is not None and not isinstance(getattr(filter, "keys", None), frozenset):
        expected = "an object of a class derived from Filter, whose keys are a frozenset"
        raise TypeError(f"filter is {expected}, not {filter!r}")
    hash(filter)
    return filter


def _abandon(loop: asyncio.AbstractEventLoop, reading: Reading) -> None:
    """Free a listener that was dropped."""
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(reading.close)
