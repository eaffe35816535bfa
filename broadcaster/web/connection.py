"""The task of one connected client: it sleeps while the hub writes, and catches up when it lags."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from broadcaster.core.cursor import Positions
from broadcaster.core.hub import Hub
from broadcaster.core.subscription import State, Subscriber, Subscription
from broadcaster.core.window import Ask
from broadcaster.core.wire import Ending
from broadcaster.errors import BroadcasterError
from broadcaster.web.sink import Sink

logger = logging.getLogger(__name__)

_ASK_AGAIN_S = (0.5, 1.5)
_SMALL_BYTES = 4096
_FAREWELL_S = 2.0

Answer = Callable[[Subscriber, Ask], Awaitable[bytes]]
"""Asks Redis what the hub can't know, applies the answer, and returns bytes to send."""


class Connection:
    """A subscriber, its sink, and the loop that joins them."""

    def __init__(
        self,
        hub: Hub,
        answer: Answer,
        sink: Sink,
        subscription: Subscription,
        positions: Positions,
        *,
        resumed: bool,
        greeting: bytes = b"",
    ) -> None:
        """Prepare.

        Args:
            hub: with the windows of the streams.
            answer: for what the hub can't know.
            sink: to the client.
            subscription: what it wants.
            positions: where it begins, in each stream.
            resumed: it has come with a cursor.
            greeting: to be sent first.
        """
        self._hub = hub
        self._answer = answer
        self._sink = sink
        self._unsent = greeting
        self._asking: asyncio.Timeout | None = None
        self.subscriber = Subscriber(
            subscription,
            positions,
            write=sink.write,
            wake=self._wake,
            pushed=sink.pushed,
            framing=sink.framing,
            resumed=resumed,
        )
        sink.on_blocked = self._on_blocked
        sink.on_closed = self._on_closed

    def _on_blocked(self) -> None:
        self.subscriber.blocked = True
        self._hub.lag(self.subscriber)
        self._sink.wake()

    def _on_closed(self) -> None:
        self._hub.remove(self.subscriber)

    def _wake(self) -> None:
        if self._asking is not None and self.subscriber.state is State.ENDED:
            asking, self._asking = self._asking, None  # once: what expires can't be told again
            asking.reschedule(0)  # in the past: nobody wants the answer any more
        self._sink.wake()

    async def run(self, send_timeout_s: float) -> Ending:
        """Serve the client until it is gone or its response is over.

        Cancelling ends it at once; the hub forgets the subscriber in any case.

        Returns:
            Why it ended; never `Ending.ERROR`, which is an exception.
        """
        subscriber, sink = self.subscriber, self._sink
        self._hub.add(subscriber)
        try:
            while not sink.closed:
                if sink.blocked:
                    await self._wait_for_progress(send_timeout_s)
                elif subscriber.state is State.ENDED:
                    break
                elif subscriber.state is State.LIVE or not await self._catch_up():
                    await sink.wait()
                subscriber.blocked = sink.blocked
            if subscriber.farewell and not sink.closed:
                await sink.send(subscriber.farewell)
            if sink.closed:
                return Ending.SEND_TIMEOUT if sink.timed_out else Ending.CLIENT
            return subscriber.ending
        finally:
            self._hub.remove(subscriber)
            subscriber.wake = sink.wake  # ours would hold us, who hold it

    async def _catch_up(self) -> bool:
        """Send what comes next; False if there is nothing to do but to wait."""
        data, self._unsent = self._unsent, b""
        step: bytes | Ask | None = data
        # Small pieces are sent together: each `send` costs as much as all else about a newcomer.
        while len(data) < _SMALL_BYTES and self.subscriber.state is State.LAGGING:
            step = self._hub.catch_up(self.subscriber)
            if not step or isinstance(step, Ask):
                break
            data += step
        if data:
            await self._sink.send(data)
        if isinstance(step, Ask) and (answer := await self._ask(step)):
            await self._sink.send(answer)
        if step is None:
            return False
        await asyncio.sleep(0)  # a long replay must not hold up the others
        return True

    async def _ask(self, ask: Ask) -> bytes:
        try:
            async with asyncio.timeout(None) as self._asking:
                try:
                    return await self._answer(self.subscriber, ask)
                except BroadcasterError as error:
                    # The client stays, gets heartbeats, and is served when Redis is back.
                    logger.debug("a replay waits: %s", error)
                    await asyncio.sleep(random.uniform(*_ASK_AGAIN_S))
        except TimeoutError:  # its response is over
            pass
        finally:
            self._asking = None
        return b""

    async def _wait_for_progress(self, timeout_s: float) -> None:
        unsent = self._sink.unsent_bytes()
        leaving = self.subscriber.ending is Ending.DRAIN
        if leaving:  # the node stops, and the server waits for its tasks no longer than 5 s
            timeout_s = min(timeout_s, _FAREWELL_S)
        try:
            async with asyncio.timeout(timeout_s):
                await self._sink.wait()
        except TimeoutError:
            if leaving or self._sink.unsent_bytes() >= unsent:
                self._sink.abort()
