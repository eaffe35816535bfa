"""Serves one connected client: sends what the hub does not write, and reports why it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from starlette.types import Scope

from broadcaster.core.counters import Meters
from broadcaster.core.fanout.driver import AsksLog, Driver
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.fanout.turns import Reader, network
from broadcaster.core.resume.opening import Admission, Opening, Serve, Verdict
from broadcaster.core.resume.page import PAGE_BYTES, Page
from broadcaster.core.resume.steps import Ask, Greeting, Send, StatePart
from broadcaster.core.wire import Ending
from broadcaster.web.head import client_address
from broadcaster.web.sink import Sink
from broadcaster.web.spread import Spread

logger = logging.getLogger(__name__)

_SMALL_BYTES = 4096
_FAREWELL_S = 2.0


class Asker(AsksLog, Protocol):
    """Asks the log for subscribers, also before these are served."""

    async def open(
        self,
        opening: Opening,
        step: Admission,
        load: Callable[[], Awaitable[bool]],
        reader: Reader,
    ) -> Verdict:
        """Return where a request begins, or why it is not served.

        Raises subclasses of `BroadcasterError`.
        """


class Pacing(Protocol):
    """The limit of the past that one connection is sent in a minute."""

    def wait_s(self, events: int, size: int) -> float:
        """Note what was sent, and return the seconds to wait before more is."""


class OpenStream:
    """An event stream that is open: the access log and the counters know its ends."""

    def __init__(
        self, meters: Meters, scope: Scope, streams: Iterable[str], *, resumed: bool, logged: bool
    ) -> None:
        """Say that it begins.

        Args:
            meters: count its end.
            scope: of its request.
            streams: the names of the streams that it has events of.
            resumed: True if its client has a position.
            logged: False keeps it out of the access log.
        """
        self._meters = meters
        self._scope = scope
        self._streams = streams
        self._logged = logged and logger.isEnabledFor(logging.INFO)
        self._opened_s = time.monotonic()
        if self._logged:
            self._log("stream opened", resumed=resumed)

    def closed(self, reason: Ending) -> None:
        """Count it, and say that it has ended."""
        self._meters.closed[reason] += 1
        if self._logged:
            open_s = round(time.monotonic() - self._opened_s, 1)
            self._log("stream closed", reason=reason, open_s=open_s)

    def _log(self, text: str, **fields: object) -> None:
        # The path without the query, because the query may carry tokens.
        client, path = client_address(self._scope), self._scope["path"]
        seen = {"client": client, "path": path, "channels": ",".join(self._streams)}
        logger.info(text, extra={"fields": seen | fields})


class Connection(Driver):
    """A subscriber, its sink, and its open questions to the log.

    `next` is called, not awaited. The driver of a connection sends what `next` returns, and calls
    it again when it is woken. `run` is the driver that uses one task per client.
    """

    def __init__(
        self,
        hub: Hub,
        questions: Asker,
        sink: Sink,
        serve: Serve,
        retry_ms: int,
        *,
        page_bytes: int = PAGE_BYTES,
        client: Sequence[Any] | None = None,
        pacing: Callable[[], Pacing] | None = None,
        pages: Spread | None = None,
    ) -> None:
        """Create the subscriber. The hub does not know it before `open`.

        Args:
            hub: holds the windows of the streams.
            questions: asks the log for what the windows do not hold.
            sink: sends bytes to the client.
            serve: what the client subscribes to, and where it begins.
            retry_ms: reconnection time, in milliseconds.
            page_bytes: about the most bytes of a page.
            client: its address and port; None if they are not known.
            pacing: returns the allowance of a client that is sent the past; None is no limit.
            pages: of all connections, which make their pages in turns; None is for one alone.
        """
        subscriber = Subscriber(
            serve.subscription,
            write=sink.write,
            wake=sink.wake,
            pushed=sink.pushed,
            framing=sink.framing,
            holder=serve.holder,
        )
        super().__init__(hub, questions, subscriber)
        self._sink = sink
        self._begin: tuple[Serve, Greeting] | None = (
            serve,
            Greeting(retry_ms, serve.unreadable, serve.reason),
        )
        self._page_bytes = page_bytes
        self._client = client
        self._pacing = pacing
        self._pace: Pacing | None = None
        self._owed_s = 0.0
        self._pages = pages or Spread()
        sink.on_blocked = self._on_blocked
        sink.on_closed = self.close

    def _on_blocked(self) -> None:
        self.subscriber.blocked = True
        self._hub.lag(self.subscriber)
        self._sink.wake()

    def open(self) -> None:
        """Add the subscriber to the hub."""
        assert self._begin is not None
        (serve, greeting), self._begin = self._begin, None
        begun = self.subscriber, serve.positions, greeting
        self._hub.add(*begun, resumed=serve.resumed, states=serve.states)
        coalescing = self._hub.states.passes.streams
        if not coalescing.isdisjoint(serve.subscription.streams):
            self._sink.hold_back()

    def close(self) -> None:
        """Remove the subscriber from the hub and drop open questions. May be called twice."""
        self._hub.remove(self.subscriber)
        self._stop_asking()

    def next(self) -> bytes | None:
        """Return the next bytes to send.

        Returns:
            `b""` if the caller should soon call again; None if it should wait until it is woken.
        """
        data = b""
        # Small pieces are sent together. One write costs as much as all other work for a newcomer.
        while self.subscriber.state is State.LAGGING and len(data) < _SMALL_BYTES:
            if self._resting:
                break
            began_s = time.thread_time()
            while isinstance(step := self._hub.advance(self.subscriber, self._page_bytes), Ask):
                self._ask(step)
            if not isinstance(step, Send):
                break
            for part in step.parts:
                data += part.data
                if isinstance(part, Page | StatePart) and (self._reader or self._pacing):
                    self._note(part)
            if step.left_out:
                self._rest(time.thread_time() - began_s, step.left_out)
            elif not step.parts and not step.joins:  # the filter left out every event of a page
                return data
        return data or None

    def _note(self, page: Page | StatePart) -> None:
        """Note that a page of the past is sent."""
        if self._reader:
            self._reader.sent(len(page.data) / self._page_bytes)
        if self._pacing:
            self._pace = self._pace or self._pacing()
            self._owed_s = self._pace.wait_s(page.events, len(page.data))

    def _new_reader(self) -> Reader:
        return Reader(network(self._client))

    async def run(self, send_timeout_s: float) -> Ending:
        """Serve the client until it disconnects or its response is over.

        Cancelling ends it at once. The subscriber is removed from the hub in any case.

        Args:
            send_timeout_s: seconds without write progress after which the client is disconnected.

        Returns:
            Why the response ended.
        """
        subscriber, sink = self.subscriber, self._sink
        self.open()
        try:
            while not sink.closed:
                if sink.blocked:
                    await self._wait_for_progress(send_timeout_s)
                elif subscriber.state is State.ENDED:
                    break
                elif subscriber.state is State.LIVE or not await self._go_on():
                    await sink.wait()
                subscriber.blocked = sink.blocked
            self._stop_asking()
            if subscriber.farewell and not sink.closed:
                await sink.send(subscriber.farewell)
            if sink.closed:
                return Ending.SEND_TIMEOUT if sink.timed_out else Ending.CLIENT
            return subscriber.ending
        finally:
            self.close()

    async def _go_on(self) -> bool:
        """Send what comes next, and let others go on. Return False if there is nothing yet."""
        began_s = time.thread_time()
        data = self.next()
        cost_s = time.thread_time() - began_s
        if data is None:
            return False
        if data:
            await self._sink.send(data)
        del data  # a client that does not read would hold a page twice
        if self.subscriber.state is State.LAGGING:
            await self._keep_pace(cost_s)
        return True

    async def _keep_pace(self, cost_s: float) -> None:
        """Let other clients be served, and wait for as long as the past is rationed.

        Heartbeats go on, and the end of the response is not waited for.

        Args:
            cost_s: seconds of the node's time that the last page has taken.
        """
        if not self._owed_s:
            await asyncio.sleep(0)  # a long replay must not delay other clients
            await self._pages.turn(cost_s)  # nor many of them, in one turn of the event loop
            return
        wait_s, self._owed_s = self._owed_s, 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._sink.closed and self.subscriber.state is State.LAGGING:
                    await self._sink.wait()

    async def _wait_for_progress(self, timeout_s: float) -> None:
        unsent = self._sink.unsent_bytes()
        leaving = self.subscriber.ending is Ending.DRAIN
        if leaving:  # the node drains, and the server waits at most 5 s for its tasks
            timeout_s = min(timeout_s, _FAREWELL_S)
        try:
            async with asyncio.timeout(timeout_s):
                await self._sink.wait()
        except TimeoutError:
            if leaving or self._sink.unsent_bytes() >= unsent:
                self._sink.abort()
