"""A running node: owns its parts and tasks, and answers the endpoint's questions."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from broadcaster.backend.clock import Clock
from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.log import Log, RedisLog, Requests, Timed
from broadcaster.core.access.policy import Policy, Verifier, public
from broadcaster.core.access.revocations import Revocations
from broadcaster.core.access.stream_counts import UNKNOWN, Owners
from broadcaster.core.counters import Meters
from broadcaster.core.fanout.heartbeat import farewell
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.log import AnyAnswer, AnyQuestion, Known, Request, StateOf
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Ending, Shed
from broadcaster.node import expiry
from broadcaster.node.description import described
from broadcaster.node.health import Health
from broadcaster.node.limits import Limits
from broadcaster.node.listener import Listener
from broadcaster.node.metrics import Metrics
from broadcaster.node.operations import Lookout
from broadcaster.node.peers import Peers
from broadcaster.node.publishing import Publishing
from broadcaster.node.pump import Pump, despite_errors
from broadcaster.node.questions import Questions
from broadcaster.node.registry import Registry, name_of
from broadcaster.node.revoking import Revoking
from broadcaster.node.runs.events import run_events
from broadcaster.node.runs.requests import PendingRequests
from broadcaster.node.runs.runs import Runs
from broadcaster.node.shutdown import Shutdown
from broadcaster.node.state.folds import Folds, hub_of
from broadcaster.settings import Settings
from broadcaster.settings.schemas import Schemas

_WRITE_TIMEOUT_S = 5.0
_PATIENCE_S = 2.0


class Node:
    """A stateless server process: windows of all streams, their tailers, and the hub.

    Attributes:
        settings: the settings, as given.
        name: name of this process among all nodes that use the same Redis.
        hub: holds the windows and the subscribers, and fans out.
        meters: counters of this node.
        log: reads its streams.
        folds: makes the states of its streams.
        clock: the time of the log.
        policy: decides what a caller may do.
        verifier: reads the tokens of callers; None if they have none.
        draining: True once its responses are being ended.
        health: knows whether the node is ready.
        registry: knows the live nodes.
        metrics: renders the metrics.
        operations: looks at the figures of all nodes, for the page.
        pump: moves changes from the log to the hub.
        questions: asks the log for subscribers.
        requests: makes their requests, for what is made on demand.
        limits: counts the event streams by their owners.
        revoking: knows which tokens were revoked.
        publishing: publishes for clients.
        publishes: the number of requests that publish now.
        runs: begins, finds and stops runs for clients.
        schemas: what is published must be like.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        log: Log | None = None,
        requests: Requests | None = None,
        peers: Peers | None = None,
        policy: Policy = public,
        make_verifier: Callable[[Revocations], Verifier] | None = None,
    ) -> None:
        """Create the parts. Nothing is connected before `start`.

        Args:
            settings: must have the url of Redis, unless `log` is given.
            log: holds the streams. None means Redis.
            requests: takes the requests of channels that are made on demand. None means `log`, if
                it takes requests, else Redis.
            peers: the processes that share the port with this one.
            policy: decides what a caller may do.
            make_verifier: makes the reader of tokens, which is given the revocations known here.

        Raises:
            ConfigurationError: neither a log nor a url of Redis is given, or a schema is no good.
        """
        self.settings = settings
        self.policy = policy
        self.meters = Meters()
        self.draining, self.publishes = False, 0
        channels = tuple(settings.channels.values())
        self.hub = hub_of(channels, settings.terminal_retry_ms)
        self.limits = Limits(settings)
        self.log: Log = log or _log_in_redis(settings)
        self.folds = Folds(channels, self.hub.windows, self.log, self.hub.adopt)
        self.hub.states.broken = self.folds.broken
        self.clock = Clock(self.log.time_ms if isinstance(self.log, Timed) else None)
        self._peers = peers or Peers()
        self.name = name_of(settings, self._peers.process)
        self.health = Health(self)
        self.registry = Registry(self, self._peers.process)
        self.metrics = Metrics(self, self._peers)
        self.operations = Lookout(self.registry)
        self.pump = Pump(self.hub, self.log, self.health)
        self.questions = Questions(self.ask)
        self.revoking = Revoking(settings, self.hub.subscribers, self.end)
        self.verifier = make_verifier(self.revoking.known) if make_verifier else None
        self.publishing = Publishing(settings)
        self.runs = Runs(settings, self.hub, self.clock.now_ms)
        self.schemas = Schemas(settings.channels)
        self._shutdown = Shutdown(self)
        gone = partial(self.end, ending=Ending.GONE)
        self.requests = PendingRequests(self.hub, settings, gone, self.clock.now_ms)
        self.requests.taker = requests or _taking(log)
        self._clients: list[AsyncClient] = []
        self._tasks: list[asyncio.Task[None]] = []

    # Life

    def start(self) -> None:
        """Start the tasks and return at once. Idempotent. `problems` says when the node is ready.

        Requests call it too, because Starlette does not run the lifespan of a mounted application.
        """
        if self._tasks:
            return
        for stream in self.hub.windows:
            self._run(partial(self.pump.tail, stream))
        if url := self.settings.redis_url:
            options: dict[str, Any] = {"timeout_s": _WRITE_TIMEOUT_S, "client_name": "broadcaster"}
            client, checkpoints = self._clients = [connect(url, **options) for _ in range(2)]
            self.requests.use(client)
            self.registry.use(client)
            self.runs.use(client)
            if isinstance(self.log, RedisLog):
                self.folds.use(checkpoints, self.settings.max_event_bytes)
            self._run(self.runs.watch)
        self._run(partial(self.pump.beat, self.settings.heartbeat_s))
        self._run(self.folds.run)
        self._run(self.clock.follow)
        self._run(self.health.watch_loop)
        self._run(self.operations.watch)
        self._run(self.requests.watch)
        self._run(partial(expiry.watch, self.hub.subscribers.expiries, self.end))
        self._run(self.registry.announce)
        if self.policy is not public:
            self.revoking.start()
            self._run(self.revoking.follow)
        self._run(partial(self._peers.serve, self.metrics.own))

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(despite_errors(work)))

    def problems(self) -> list[str]:
        """Return why the node is not ready, with the errors' own texts; empty if it is ready."""
        self.start()
        return [problem.detail for problem in self.health.problems()]

    # Shutdown; the module `shutdown` has the order of the steps

    async def drain(self) -> None:
        """Shed newcomers, and end all responses over `drain_s` seconds, each with its `retry:`."""
        self._shutdown.begin(self.settings.drain_s)
        await self._shutdown.responses_ended()

    def end_responses(self) -> None:
        """Begin to end all responses in one instant, each with its own `retry:`."""
        self._shutdown.begin(0)

    async def aclose(self) -> None:
        """End what is left, stop reading, and close all connections to Redis. May be called again.

        If it is cancelled, it stops waiting, but the shutdown goes on.
        """
        await self._shutdown.finish()

    def fail_readiness(self) -> None:
        """Step of the shutdown: become unready, and shed newcomers."""
        self.draining = True
        self.operations.wake()

    def subscribers(self) -> list[Subscriber]:
        """Return the connected clients."""
        return list(self.hub.subscribers)

    def end(self, subscribers: Iterable[Subscriber], ending: Ending = Ending.DRAIN) -> None:
        """End responses, each with its own `retry:`."""
        for subscriber in subscribers:
            retry_ms = random.randint(self.settings.retry_min_ms, self.settings.retry_max_ms)
            proven = self.hub.proven(subscriber)
            self.hub.end(subscriber, ending, farewell(subscriber, proven, retry_ms, ending))

    async def stop_tasks(self) -> None:
        """Step of the shutdown: stop all tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def leave_registry(self) -> None:
        """Step of the shutdown: remove this node from the registry."""
        await self.registry.leave()

    async def close_clients(self) -> None:
        """Step of the shutdown: close all connections to Redis."""
        await self.log.aclose()
        await self.revoking.aclose()
        await self.publishing.aclose()
        for client in self._clients:
            await client.aclose()

    # Questions of the endpoint

    def why_shed(self, streams: Iterable[str], owners: Owners = UNKNOWN) -> Shed | None:
        """Start the node, and return why a newcomer can't be served now; None if it can.

        Args:
            streams: that it wants.
            owners: of its event stream; those in this process have none.
        """
        self.start()
        if self.draining:
            return Shed.DRAINING
        if len(self.hub.subscribers) + self.meters.waiting >= self.settings.max_connections:
            return Shed.FULL
        if self.limits.counts and (reason := self.limits.refusal(owners)):
            return reason
        if not all(event.is_set() for event in self._loading(streams)):
            return Shed.LOADING
        return None

    def _loading(self, streams: Iterable[str]) -> list[asyncio.Event]:
        """Return what must be set before a newcomer to these streams can be served."""
        windows = [self.pump.loaded[stream] for stream in streams]
        return [self.clock.asked, self.revoking.read, *windows]

    async def loaded(self, streams: Iterable[str]) -> bool:
        """Wait up to 2 s for windows that are still loading. Return True if all are loaded."""
        loading = self._loading(streams)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                for event in loading:
                    await event.wait()
        return all(event.is_set() for event in loading)

    async def describe(self, name: str) -> dict[str, Any]:
        """Return the oldest and newest id that a client can read, the length, and the path."""
        self.start()
        return await described(self.settings.channels[name], self.hub.windows, self.log)

    def run_events(self, wanted: Wanted) -> AsyncIterator[tuple[str, str]]:
        """Return the type and the data of each event of a run, as `node.runs.events` says."""
        return run_events(Listener(self, wanted), str(wanted.run))

    async def ask(
        self, stream: str, question: AnyQuestion, reader: Reader | None = None
    ) -> AnyAnswer:
        """Return the log's answer about a stream, or the requester's answer about a run.

        Args:
            stream: its name.
            question: about it.
            reader: the client that asks; None is the node itself.

        Raises:
            BackendUnavailableError: Redis is away, or takes too long.
            ConfigurationError: Redis refuses a request for good.
        """
        if isinstance(question, Request | Known):
            return await self.requests.ask(stream, question)
        if isinstance(question, StateOf):
            return await self.folds.ask(stream, question, reader)
        return await self.log.ask(stream, question, reader)


def _log_in_redis(settings: Settings) -> RedisLog:
    """Return the log of the settings' streams. Raises a `ConfigurationError` without a url."""
    settings.require_redis_url()
    sizes = {"max_event_bytes": settings.max_event_bytes, "page_bytes": settings.high_water_bytes}
    return RedisLog(settings.redis_url, settings.channels.streams, **sizes)


def _taking(log: object) -> Requests | None:
    """Return the log, if it takes requests as well."""
    return log if isinstance(log, Requests) else None
