"""A subscription in-process: the events of channels as an async iterator, without HTTP.

A listener is a subscriber like any client. It has no queue: it takes steps from the hub when its
consumer asks for more. If the consumer is slow, the listener lags, and catches up from the windows
or the log.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TypeAlias, TypeVar

from broadcaster.core import cursor
from broadcaster.core.beginning import begin_at
from broadcaster.core.channel import without_shard
from broadcaster.core.cursor import Positions
from broadcaster.core.event import Event, EventId, Live, Reset
from broadcaster.core.filter import Filter
from broadcaster.core.hub import Hub
from broadcaster.core.opening import Gone, NoContent, Opening, Refused, Serve, Verdict
from broadcaster.core.page import Page
from broadcaster.core.steps import UNREADABLE_CHARS, Ask, Greeting, Hello, LivePart, ResetPart, Send
from broadcaster.core.subscriber import State, Subscriber
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Ending, Shed
from broadcaster.errors import BackendUnavailableError, InvalidRequestError, UnknownChannelError
from broadcaster.node.node import Node

T = TypeVar("T")
Yielded: TypeAlias = Event | Reset | Live


class Listener:
    """An async iterator of `Event`, `Reset` and `Live`, made by `Application.subscribe`.

    It begins with `async with`, or when the first value is asked for. It ends after a terminal
    event, or when the node drains; `ending` says which. To go on from the same place, at this node
    or another, subscribe again with `after=listener.cursor`.

    `async with` and `aclose` free it. So does a cancelled wait for the next value: after that it is
    over. One task at a time may wait for the next value.
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
        self._subscription = wanted.subscription
        self._after = after
        self._positions: Positions | None = None
        self._subscriber: Subscriber | None = None
        self._ending: Ending | None = None
        self._ready: Iterator[Yielded] | None = None
        self._woken = asyncio.Event()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._release: Callable[[], object] | None = None

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
        at = self._position()
        if at is None:
            return self._after
        text = self._subscription.cursor(at) or cursor.render(at, self._subscription.run)
        return text.decode()

    def _position(self) -> Positions | None:
        subscriber = self._subscriber
        if self._ready is None and subscriber and subscriber.state is State.LIVE:
            return self._node.hub.live_position(subscriber)
        return self._positions

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
        if self._subscriber is None and self._ending is None:
            await self._begin()
        while True:
            if self._ready is not None:
                for value in self._ready:
                    return value
                self._ready = None
                await asyncio.sleep(0)  # a long replay must not hold up the others
            subscriber = self._subscriber
            if subscriber is None or subscriber.state is State.ENDED:
                raise StopAsyncIteration  # which frees it
            self._woken.clear()
            if not (subscriber.state is State.LAGGING and self._advance(subscriber)):
                await self._woken.wait()

    # Its beginning

    async def _begin(self) -> None:
        if self._subscriber or self._ending:
            return
        found = await self._opened()
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
        load = partial(node.loaded, self._subscription.streams)
        return await node.questions.open(opening, opening.step(), load)

    def _serve(self, serve: Serve) -> None:
        node, hub = self._node, self._node.hub
        subscriber = Subscriber(
            serve.subscription, write=_ignored, wake=self._woken.set, pushed=False
        )
        self._subscription, self._positions = serve.subscription, dict(serve.positions)
        greeting = Greeting(node.settings.retry_min_ms, serve.unreadable, serve.reason)
        hub.add(subscriber, serve.positions, greeting, resumed=serve.resumed)
        self._subscriber = subscriber
        # The hub knows the subscriber, not the listener: one that is dropped without `aclose` is
        # freed, too. The collector runs at any moment, so `_abandon` waits for a turn of the loop.
        loop, asking = asyncio.get_running_loop(), self._asking
        release = weakref.finalize(self, _abandon, loop, hub, subscriber, asking)
        release.atexit = False
        self._release = release.detach

    # Its steps

    def _advance(self, subscriber: Subscriber) -> bool:
        """Take a step. Return False if there is nothing to do until it is woken."""
        resume = subscriber.resume
        assert resume is not None
        assert self._positions is not None
        step = self._node.hub.advance(subscriber)
        if isinstance(step, Ask):
            asking = self._node.questions.ask(resume, step, self._woken.set)
            self._asking[step.stream] = asking
            return True
        if isinstance(step, Send):
            self._ready = _sent(step, self._wanted, self._positions, dict(resume.position))
            return True
        return False

    # Its end

    def _free(self) -> None:
        subscriber, self._positions = self._subscriber, self._position()
        self._ready = self._subscriber = None
        if subscriber is None:
            self._ending = self._ending or Ending.CLIENT
            return
        self._node.hub.remove(subscriber)
        self._ending = subscriber.ending
        assert self._release is not None
        self._release()
        for asking in self._asking.values():
            asking.cancel()


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
    subscription = Subscription.to(chosen, _several(keys), _several(types), filter)
    if not after:
        return Listener(node, Wanted(tuple(chosen), subscription))
    wanted = begin_at(str(after), tuple(chosen), subscription, node.clock.now_ms())
    return Listener(node, wanted, str(after))


def _several(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _sent(
    send: Send, wanted: Wanted, positions: Positions, reached: Positions
) -> Iterator[Yielded]:
    """Yield what a step sends. The positions move along, and at the end to `reached`."""
    for part in send.parts:
        match part:
            case Page():
                for stream, frame in part.placed:
                    positions[stream] = frame.id
                    channel, _ = without_shard(stream)
                    yield Event(frame.id, frame.type, frame.key, frame.data, channel)
            case ResetPart(_, stream, reason, requested, resumed, _):
                positions[stream] = resumed
                yield Reset(*without_shard(stream), reason, str(requested), str(resumed))
            case LivePart(_, replayed, _):
                positions.update(reached)
                yield Live(replayed)
            case Hello() if wanted.unreadable is not None:
                text = wanted.unreadable[:UNREADABLE_CHARS]
                for stream, at in positions.items():
                    yield Reset(*without_shard(stream), wanted.reason, text, str(at))
    positions.update(reached)


def _abandon(
    loop: asyncio.AbstractEventLoop,
    hub: Hub,
    subscriber: Subscriber,
    asking: dict[str, asyncio.Task[None]],
) -> None:
    """Free a listener that was dropped."""

    def free() -> None:
        hub.remove(subscriber)
        for task in asking.values():
            task.cancel()

    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(free)


def _ignored(_: bytes) -> None:
    """Heartbeats are for sockets."""
