"""The stage of a scenario: Redis, nodes, clients, producers. All of it is always torn down."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from broadcaster import EmbeddedRedis
from tests.chaos.analysis import without_events
from tests.chaos.browser import NAME, tabs
from tests.chaos.checker import Report, check
from tests.chaos.history import Ledger, Recording, Subscription
from tests.chaos.processes import Folder, LoadProcess, Node
from tests.chaos.producer import Producer, client_of, entries
from tests.chaos.proxy import Proxy
from tests.chaos.values import check_values
from tests.clients import browsers
from tests.wait import until

_T = TypeVar("_T")
CHANNELS = ("a", "b", "c", "d")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes")
_PATHS = {name: f"/{name}" for name in CHANNELS} | {"d": "/d/{key}"}
_CONFIG = "".join(f'[channels.{name}]\npath = "{path}"\n' for name, path in _PATHS.items())
_TABS = 3
_FIRST = -10  # setpriority(2); less is more
_TABS_TIMEOUT_S = 20.0
_REACH_TIMEOUT_S = 60.0


class Skipped(Exception):
    """A scenario needs something that this machine lacks. The message names it."""


@dataclass(frozen=True)
class Shown:
    """Something that a scenario had to show.

    Attributes:
        what: it had to be.
        measured: it was.
        right: it was so.
        busy: where it was not, the machine may have been too busy.
    """

    what: str
    measured: str
    right: bool
    busy: bool = False


class Stage:
    """Everything that a scenario needs. Use it as an asynchronous context.

    Attributes:
        quick: smaller sizes are wanted.
        random: the only source of chance, from the seed.
        redis: a server of its own that loses nothing.
        ledger: what the producers did.
        shown: what the scenario has found out so far.
    """

    def __init__(self, directory: Path, seed: int, *, quick: bool) -> None:
        self.directory = directory
        self.quick = quick
        self.random = random.Random(seed)
        self.redis = EmbeddedRedis(*DURABLE)
        self.ledger = Ledger()
        self.shown: list[Shown] = []
        self.nodes: list[Node] = []
        self.load = LoadProcess()
        self.load_cpu_s = 0.0
        self.recording = Recording()
        self.report = Report()
        self._groups: dict[str, Subscription] = {}
        self._background: list[asyncio.Future[None]] = []
        self._stack = AsyncExitStack()
        self._client: Any = None

    def size(self, whole: float, quick: float) -> float:
        """A size, for the whole proof or for the quick one."""
        return quick if self.quick else whole

    def count(self, whole: int, quick: int) -> int:
        """A number of things, for the whole proof or for the quick one."""
        return quick if self.quick else whole

    async def __aenter__(self) -> Stage:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(self.redis)
        self._client = client_of(self.redis.url)
        self._stack.push_async_callback(lambda: self._client.aclose())
        await self.load.start(self.random.randrange(1 << 30))
        self._stack.push_async_callback(self.load.aclose)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    # Things to play with

    async def start_nodes(
        self, count: int, url: str = "", also: str = "", **settings: Any
    ) -> list[Node]:
        """Start nodes. From now on, clients use all of them in turn.

        Args:
            count: the number of nodes.
            url: of their Redis, if it is not that of the stage.
            also: tables of more channels.
            settings: of each node.
        """
        config = self.directory / "hub.toml"
        config.write_text(_CONFIG + also)
        given = {
            "config": config,
            "redis_url": url or self.redis.url,
            "retry_min_ms": 200,
            "retry_max_ms": 1000,
            "terminal_retry_ms": 1000,
            **settings,
        }
        made = []
        for _ in range(count):
            node = Node(self.directory / f"node{len(self.nodes)}.log", given)
            self._stack.push_async_callback(node.aclose)
            self.nodes.append(node)
            made.append(node)
        await asyncio.gather(*(node.start() for node in made))
        await self.aim(*(node.target for node in self.nodes))
        return made

    def folder(self, url: str) -> Folder:
        """Make a folder for the channels of the nodes, which were started before.

        Args:
            url: of its Redis.
        """
        settings = self.nodes[0].settings | {"redis_url": url}
        made = Folder(self.directory / "folder.log", settings)
        self._stack.push_async_callback(made.aclose)
        return made

    async def pin(self, node: Node) -> None:
        """Give a node a core of its own, and another one to this process and to the clients.

        Redis may run on both: whatever it does belongs to the node or to an attacker. The clients
        go before an attacker in this process, so that they measure the node.
        """
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            return
        self._stack.callback(os.sched_setaffinity, 0, cores)
        for pid, core in ((node.pid, cores[0]), (0, cores[1]), (self.load.pid, cores[1])):
            os.sched_setaffinity(pid, {core})
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self.load.pid, _FIRST)

    async def aim(self, *targets: tuple[str, int]) -> None:
        """Set the addresses that clients connect to from now on, in turn."""
        await self.load.ask("aim", targets=targets)

    async def proxy(self, target: tuple[str, int]) -> Proxy:
        """Put a proxy before something."""
        return await self._stack.enter_async_context(Proxy(target))

    def producer(self, url: str = "", **options: Any) -> Producer:
        """Make a producer."""
        made = Producer(url or self.redis.url, self.ledger, self.random, **options)
        self._stack.push_async_callback(made.aclose)
        return made

    def background(self, work: Coroutine[None, None, None]) -> asyncio.Future[None]:
        """Let something run until it is done or the scenario ends."""
        task = asyncio.ensure_future(work)
        self._background.append(task)
        self._stack.push_async_callback(_cancelled, task)
        return task

    async def entered(self, context: AbstractContextManager[_T]) -> _T:
        """Enter a context that blocks, and leave it when the scenario ends."""
        made = await asyncio.to_thread(context.__enter__)
        leave = partial(asyncio.to_thread, context.__exit__, None, None, None)
        self._stack.push_async_callback(leave)
        return made

    async def closing(self, aclose: Callable[[], Awaitable[None]]) -> None:
        """Call this when the scenario ends."""
        self._stack.push_async_callback(aclose)

    async def open(
        self, group: str, count: int, path: str, subscription: Subscription, **options: Any
    ) -> None:
        """Add clients, and wait until they are live."""
        self._groups[group] = subscription
        answer = await self.load.ask(
            "open",
            group=group,
            count=count,
            path=path,
            subscription=asdict(subscription),
            **options,
        )
        if answer["left"]:
            self.show(
                f"all clients of {group!r} are live at first", f"{answer['left']} are not", False
            )

    async def open_mix(self, count: int) -> None:
        """Clients of every kind: of one stream and of several, of all and of some keys or types."""
        for group, (share, path, subscription) in MIX.items():
            await self.open(group, max(1, round(count * share)), path, subscription)

    @property
    def client(self) -> Any:
        """A client of Redis."""
        return self._client

    def use(self, url: str) -> None:
        """Read the streams at the end from another server."""
        self._stack.push_async_callback(self._client.aclose)
        self._client = client_of(url)

    @asynccontextmanager
    async def watched(self, target: tuple[str, int], path: str = "/a") -> AsyncIterator[Proxy]:
        """Let tabs of a browser follow a stream meanwhile: none may ever be CLOSED.

        Yields:
            What they connect through. Each tab must lose a connection at least once, or there would
            be nothing to see.
        """
        proxy = await self.proxy(target)
        if lack := browsers.missing(NAME):
            measured = f"not looked at: {lack}"
            self.show("no tab is ever CLOSED", measured, self.quick)
            yield proxy
            return
        async with tabs("http://{}:{}".format(*proxy.address), path, _TABS) as opened:
            await until(opened.all_open, _TABS_TIMEOUT_S)
            yield proxy
            seen = await opened.seen()
        closed, errors, events = (
            [tab[what] for tab in seen] for what in ("closed", "errors", "events")
        )
        measured = f"{sum(map(bool, closed))} of {_TABS}, {errors} errors, {events} events"
        self.show("no tab is ever CLOSED", measured, not any(closed) and all(errors))

    # Findings

    def show(self, what: str, measured: str, right: bool, *, busy: bool = False) -> None:
        """Note what was measured of something that must be shown; see `Shown`."""
        self.shown.append(Shown(what, measured, right, busy))

    def show_no_reset(self) -> None:
        """Note that no client was reset."""
        count = self.report.resets.total()
        connections = f"{self.report.connections:,} connections"
        self.show("no reset", f"{count} over {connections}", not count)

    def show_no_stall(self, times: int) -> None:
        """Note how often a node's event loop was late. See `Node.times_late`.

        A short run does not judge it, since it may share the machine with anything.
        """
        what = "the event loop never stalls for 200 ms"
        right = self.quick or not times
        self.show(what, f"{times} times, of 20 looks a second", right, busy=True)

    def show_reasons(self, *expected: str) -> None:
        """Note the reasons of resets, and that no reset was needless."""
        told, needless = self.report.resets, self.report.needless
        measured = f"{dict(told)}" + (f", {needless} of them needless" if needless else "")
        what = f"resets say {' or '.join(expected)}"
        self.show(what, measured, told.keys() <= set(expected) and not needless)

    async def quiet(self) -> None:
        """End what runs in the background, so that nothing is published any more.

        Raises:
            Exception: it has failed, and so nothing was published for some time.
        """
        for task in self._background:
            if task.done():
                task.result()
            await _cancelled(task)

    async def live(self, timeout_s: float) -> None:
        """Wait until all clients are live."""
        answer = await self.load.ask("live", timeout_s=timeout_s)
        if answer["left"]:
            self.show(
                f"all are live again in {timeout_s:.0f} s", f"{answer['left']} are not", False
            )

    async def reach(self, group: str, timeout_s: float = _REACH_TIMEOUT_S) -> None:
        """Wait until all clients of a group have got what is in the streams."""
        goal = self.ledger.last_of(self._groups[group])
        answer = await self.load.ask("reach", group=group, positions=goal, timeout_s=timeout_s)
        if answer["left"]:
            self.show(f"all of {group!r} reach the end", f"{answer['left']} do not", False)

    async def settle(
        self, timeout_s: float = _REACH_TIMEOUT_S, streams: Sequence[str] = CHANNELS
    ) -> None:
        """Wait until all clients have got everything, then check what they saw."""
        for name in streams:
            self.ledger.final[name] = await entries(self._client, name)
        for group in self._groups:
            await self.reach(group, timeout_s)
        path = self.directory / "clients.ndjson"
        self.load_cpu_s = (await self.load.ask("finish", path=str(path)))["cpu_s"]
        self.recording = await asyncio.to_thread(Recording.load, path)
        self.report = await asyncio.to_thread(check, self.recording, self.ledger)
        await asyncio.to_thread(check_values, self.recording, self.ledger, self.report)
        if silent := without_events(self.recording):
            self.show("every client gets events", f"{len(silent)} do not: {silent[:3]}", False)


async def _cancelled(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


MIX = {
    "one": (0.05, "/a", Subscription(("a",))),
    "both": (0.05, "/v1/events?channel=a&channel=b", Subscription(("a", "b"))),
    "keys": (0.6, "/a?key=k0&key=k2", Subscription(("a",), keys=("k0", "k2"))),
    "types": (
        0.3,
        "/v1/events?channel=a&channel=b&type=t1",
        Subscription(("a", "b"), types=("t1",)),
    ),
}
"""Groups of clients: which share of all, their path, and what it means. An average client gets a
quarter of all events, which of 50/s for 2,000 clients two slow cores carry."""
