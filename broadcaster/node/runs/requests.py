"""Adds the requests of a node's clients, and watches those that no worker has taken yet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.log import Requests
from broadcaster.backend.runs.requester import Requester
from broadcaster.core.event import EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.log import Answer, Known, Request
from broadcaster.core.run import Standing
from broadcaster.core.runs.pending import Pending
from broadcaster.core.runs.silent import Waiting
from broadcaster.errors import BackendUnavailableError, BroadcasterError, ConfigurationError
from broadcaster.node.runs.waiting import tell
from broadcaster.settings import Settings
from broadcaster.web.ticks import tick

logger = logging.getLogger(__name__)

_GRACE = 3  # times `retry_max_ms`
_SWEEP_S = 0.25
_AT_ONCE = 500

SendBack = Callable[[Iterable[Subscriber]], None]
"""Ends responses, so that their clients come back."""


class PendingRequests:
    """The requests of this node's clients.

    Attributes:
        taker: takes the requests; None until there is one.
    """

    def __init__(
        self, hub: Hub, settings: Settings, send_back: SendBack, now_ms: Callable[[], int]
    ) -> None:
        """Begin without requests.

        Args:
            hub: has the subscribers, by the runs that they follow.
            settings: of the node.
            send_back: ends the responses of clients whose request is gone.
            now_ms: returns milliseconds since 1970, by the clock that makes the ids.
        """
        self.taker: Requests | None = None
        self._hub = hub
        self._send_back = send_back
        self._now_ms = now_ms
        self._settings = settings
        grace_s = _GRACE * settings.retry_max_ms / 1_000
        self._pending = Pending(grace_s=grace_s, ttl_s=settings.request_ttl_s)
        self._refused = False
        self._asking: set[asyncio.Task[Answer]] = set()

    def use(self, client: AsyncClient) -> None:
        """Add the requests in Redis, unless something else takes them."""
        if self.taker is None:
            keys, limit = self._settings.channels.streams, self._settings.max_requests
            self.taker = Requester(client, keys, limit=limit, ttl_s=self._settings.request_ttl_s)

    async def ask(self, stream: str, question: Request | Known) -> Answer:
        """Add a request, or look for one.

        If the caller is cancelled, the request is added and watched all the same.

        Args:
            stream: the name of the stream that gets the run's events.
            question: what to ask.

        Raises:
            BackendUnavailableError: Redis is away, or takes too long.
            ConfigurationError: Redis refuses it for good, or nothing takes requests.
        """
        if self.taker is None:
            raise ConfigurationError("nothing takes requests: set redis_url, or give requests")
        work = asyncio.create_task(self._ask(self.taker, stream, question))
        self._asking.add(work)
        work.add_done_callback(self._done)
        return await asyncio.shield(work)

    def _done(self, work: asyncio.Task[Answer]) -> None:
        self._asking.discard(work)
        if not work.cancelled():
            work.exception()  # its caller may be gone, so here it counts as seen

    async def _ask(self, taker: Requests, stream: str, question: Request | Known) -> Answer:
        if isinstance(question, Known):
            known = await taker.known(question)
            if known:
                self._pending.add(question, time.monotonic())
            return known
        run = await taker.request(question.requests, question.key)
        if run is not None:
            of = Known(question.requests, stream, question.key, run)
            self._pending.add(of, time.monotonic())
        return run

    async def watch(self) -> None:
        """Strike out the requests that clients have left, until cancelled."""
        try:
            while True:
                await tick(_SWEEP_S)
                await self.sweep(time.monotonic())
        finally:
            for work in self._asking:
                work.cancel()

    async def sweep(self, now_s: float) -> None:
        """Look after the requests once."""
        due = self._pending.due(now_s, self._is_followed)
        for runs, strike in ((due.strike, True), (due.look, False)):
            by_queue = defaultdict[str, list[Known]](list)
            for run in runs:
                by_queue[run.requests].append(run)
            for requests, several in by_queue.items():
                for start in range(0, len(several), _AT_ONCE):
                    await self._review(requests, several[start : start + _AT_ONCE], strike=strike)

    def _is_followed(self, run: EventId) -> bool:
        return bool(self._hub.subscribers.of_run(run))

    async def _review(self, requests: str, runs: list[Known], *, strike: bool) -> None:
        assert self.taker is not None
        try:
            ids = [run.run for run in runs]
            standings = await self.taker.review(requests, ids, strike=strike)
            for run, standing in zip(runs, standings, strict=True):
                await self._settle(run, standing)
        except BackendUnavailableError as error:
            logger.debug("requests are looked at later: %s", error)
        except BroadcasterError as error:
            if not self._refused:
                logger.warning("requests without a client stay until workers take them: %s", error)
            self._refused = True
            for run in runs:
                self._pending.forget(run)

    async def _settle(self, run: Known, standing: Standing) -> None:
        if standing is Standing.WAITING:
            waited_ms = self._now_ms() - run.run.ms
            ttl_ms = round(self._settings.request_ttl_s * 1_000)
            tell(self._hub, run.run, Waiting(waited_ms, ttl_ms - waited_ms))
            return
        assert self.taker is not None
        gone = standing is Standing.STRUCK
        if standing is Standing.ABSENT and self._is_followed(run.run):
            gone = not await self.taker.known(run)
        self._pending.forget(run)
        if gone:
            self._send_back(self._hub.subscribers.of_run(run.run))
