"""A rolling update: an older commit's nodes, workers and clients run beside those of this commit.

Both versions share one Redis and publish under load. Clients of both versions are moved from nodes
of one version to nodes of the other, forwards and back. In the end, each client's events are
compared with the streams themselves: nothing is lost, nothing comes twice, and no client is reset.
The nodes of this commit may read tokens, of which the older ones know nothing.

`make rolling-update` does it for a minute, under more load.

The file `older-commit` names the older commit. Each series of changes moves it to the commit that
the series begins with.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from broadcaster import EventId, connect_sync
from tests.chaos.proxy import Proxy
from tests.command_line import Running, Start, ready, starting
from tests.wait import TEST_S, http_client, until
from tests.web.tokens.issuers import SECRET, token
from tests.workers.conftest import check_coherence, events_of
from workers.store import PETS

ROOT = Path(__file__).parents[2]
OLDER_COMMIT = Path(__file__).with_name("older-commit").read_text().strip()
BEARER = Path(__file__).with_name("bearer.py")
STREAMS = ("inventory", "orders")
KEY = PETS[0].id
LASTS_S = float(os.environ.get("LASTS_S", "0"))  # an update is repeated for so long
RATE = "100" if LASTS_S else "40"  # events per second of each worker; there are four
# The pet store's channels, where a client may follow all orders.
CHANNELS: dict[str, dict[str, Any]] = {
    "inventory": {"path": "/v1/inventory/stream", "key_param": "petId"},
    "orders": {
        "path": "/v1/orders/{key}/status/stream",
        "key_required": False,
        "start": "earliest",
        "terminal": ["complete"],
    },
    "recommendations": {
        "path": "/v1/pets/recommendations/stream",
        "key_param": "userId",
        "key_required": True,
        "requests": "recommendations.requests",
        "terminal": ["complete"],
    },
}
# With tokens, a channel needs one unless it is public.
GUARDED_CHANNELS = {**CHANNELS, "inventory": {**CHANNELS["inventory"], "access": "public"}}
RIGHTS = {"subscribe": ["orders"]}

pytestmark = pytest.mark.timeout(2 * TEST_S + 4 * LASTS_S)


Events = dict[str, list[tuple[str, str, Any]]]
"""Id, type and data of each event, by its stream, in their order."""


class Version(NamedTuple):
    """The code that a process runs.

    Attributes:
        name: for messages.
        directory: has the packages `broadcaster` and `workers`.
        guarded: its nodes read tokens.
    """

    name: str
    directory: Path
    guarded: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """The settings of its processes."""
        channels = json.dumps(GUARDED_CHANNELS if self.guarded else CHANNELS)
        tokens = {"BROADCASTER_TOKEN_SECRETS": json.dumps([SECRET])} if self.guarded else {}
        return {"BROADCASTER_DRAIN_S": "0.5", "BROADCASTER_CHANNELS": channels, **tokens}


NEW = Version("new", ROOT)
GUARDED = Version("new and guarded", ROOT, guarded=True)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """The older commit, in a directory of its own; skips the test where there is no history."""
    archive = subprocess.run(
        ("git", "-C", ROOT, "archive", OLDER_COMMIT), capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"no history: this clone has no commit {OLDER_COMMIT[:7]}")
    directory = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return Version("old", directory)


class Node(NamedTuple):
    """A node that is ready.

    Attributes:
        process: what runs.
        port: where it listens, on 127.0.0.1.
    """

    process: Running
    port: int


class Client:
    """A `broadcaster tail` that stays for the whole update.

    Attributes:
        name: for messages.
        tail: the process.
        key: it gets the events of this key alone; empty for all.
    """

    def __init__(self, name: str, tail: Running, streams: Sequence[str], key: str = "") -> None:
        self.name = name
        self.tail = tail
        self.key = key
        self._seen: Events = {stream: [] for stream in streams}
        self._at = dict.fromkeys(streams, "0-0")
        self._lines = 0

    def seen(self) -> Events:
        """All events until now.

        Over several streams an id names a position in each. The one that moved is the event's.
        """
        lines = self.tail.out[self._lines :]
        self._lines += len(lines)
        for line in map(json.loads, lines):
            if line["type"] not in ("stream.live", "stream.at"):
                assert not line["type"].startswith("stream."), f"{self.name} was sent {line}"
                before, self._at = self._at, self._positions(line["id"])
                moved = [name for name, at in self._at.items() if at != before[name]]
                assert len(moved) == 1, f"{self.name} was sent {line} after {before}"
                self._seen[moved[0]].append((self._at[moved[0]], line["type"], line["data"]))
        return self._seen

    def _positions(self, cursor: str) -> dict[str, str]:
        parts = cursor.split(",") if "=" in cursor else [f"{next(iter(self._at))}={cursor}"]
        return dict(part.split("=") for part in parts)

    def newest(self) -> dict[str, EventId]:
        """The newest event of each stream."""
        last = {stream: events[-1:] for stream, events in self.seen().items()}
        ids = {stream: event[0][0] if event else "0-0" for stream, event in last.items()}
        return {stream: EventId.of_entry(id_.encode()) for stream, id_ in ids.items()}

    def is_after(self, heads: dict[str, EventId]) -> bool:
        """Return True if it has a newer event than these in each of its streams."""
        return all(newest > heads[stream] for stream, newest in self.newest().items())


class Stage:
    """One Redis, and all processes around it."""

    def __init__(self, start: Start, redis_url: str, store: Any) -> None:
        self.store = store
        self._start = start
        self._redis_url = redis_url

    async def run(self, version: Version, module: str, *arguments: str) -> Running:
        """Start `python -m module` of a version, or a file with its code."""
        environment = {**version.settings, "PYTHONPATH": str(version.directory)}
        code = (module,) if module.endswith(".py") else ("-m", module)
        return await self._start(*code, *arguments, env=environment)

    async def node(self, version: Version) -> Node:
        """Start a node, and wait until it is ready."""
        arguments = ("serve", "--port", "0", "--redis-url", self._redis_url)
        node = await self.run(version, "broadcaster", *arguments)
        url = await node.url()
        await ready(url)
        return Node(node, int(url.rpartition(":")[2]))

    async def worker(self, version: Version, name: str, rate: str = RATE) -> Running:
        """Start a worker."""
        arguments = (name, "--rate", rate, "--redis-url", self._redis_url)
        return await self.run(version, "workers", *arguments)

    async def client(
        self, version: Version, front: Front, key: str = "", bearer: bool = False
    ) -> Client:
        """Start a client of all events, or of those of one key; it begins with the oldest.

        Args:
            version: of its code.
            front: that it connects to.
            key: of a pet; empty for all channels.
            bearer: it sends a token.
        """
        streams = ("inventory",) if key else STREAMS
        names = ",".join(streams)
        if bearer:
            url = f"{front.url}/v1/events?channel={names}&from=earliest"
            signed = token(sub="ann", broadcaster=RIGHTS)
            tail = await self.run(version, str(BEARER), url, signed)
        else:
            options = ["--from", "earliest", "--base-url", front.url]
            options += ["--key", key] if key else []
            tail = await self.run(version, "broadcaster", "tail", names, *options)
        name = f"the {version.name} client of {key or 'all'} at front {front.name}"
        return Client(name, tail, streams, key)

    def heads(self) -> dict[str, EventId]:
        """The newest entry of each stream."""
        return {stream: events_of(self.store, stream)[-1].id for stream in STREAMS}

    def stored(self, client: Client) -> Events:
        """The client's events that are in Redis, in the form of `Client.seen`."""
        return {
            stream: [
                (str(event.id), event.type, json.loads(event.data))
                for event in events_of(self.store, stream)
                if client.key in ("", event.key)
            ]
            for stream in client.seen()
        }


class Front:
    """An address that stays while the nodes behind it change, as a balancer's does.

    Attributes:
        name: for messages.
        url: what clients connect to.
    """

    def __init__(self, name: str, proxy: Proxy) -> None:
        self.name = name
        self.url = "http://{}:{}".format(*proxy.address)
        self._proxy = proxy
        self._node: Node | None = None

    async def lead_to(self, node: Node, ending: int = signal.SIGTERM) -> None:
        """Put a node in the place of the present one, which then gets the signal, and ends."""
        before, self._node = self._node, node
        self._proxy.target = ("127.0.0.1", node.port)
        if before:
            status = await before.process.stop(ending)
            assert status == (0 if ending == signal.SIGTERM else -ending)


@pytest.fixture
async def stage(redis_url: str) -> AsyncIterator[Stage]:
    """An empty Redis; all processes end with the test."""
    with connect_sync(redis_url) as store:
        async with starting(sys.executable, "-P") as start:
            yield Stage(start, redis_url, store)


@pytest.fixture
async def fronts() -> AsyncIterator[tuple[Front, Front]]:
    """Two addresses, without nodes."""
    async with Proxy(("127.0.0.1", 0)) as first, Proxy(("127.0.0.1", 0)) as second:
        yield Front("A", first), Front("B", second)


async def test_the_older_commit_is_what_runs(stage: Stage, old: Version) -> None:
    for version in (old, NEW):
        code = await stage.run(version, "site")  # it prints the import path
        await code.ended()
        paths = [line.strip(" ',") for line in code.out]
        assert str(version.directory) in paths
        assert paths.index(str(version.directory)) < 3


@pytest.mark.parametrize("new", [NEW, GUARDED], ids=["open", "guarded"])
async def test_clients_move_between_the_versions(
    stage: Stage, fronts: tuple[Front, Front], old: Version, new: Version
) -> None:
    first, second = fronts
    await first.lead_to(await stage.node(old))
    await second.lead_to(await stage.node(new))
    assert await statuses(fronts) == [200, 401 if new.guarded else 200]
    workers = [await stage.worker(v, name) for v in (old, new) for name in STREAMS]
    clients = [
        await stage.client(old, first, bearer=new.guarded),
        await stage.client(new, first, KEY),
        await stage.client(new, second, bearer=new.guarded),
        await stage.client(old, second, KEY),
    ]
    began_s = time.monotonic()
    await go_on(stage, clients)
    moves = 0
    while not moves or time.monotonic() - began_s < LASTS_S:
        # Each way, from the older version and back to it, once by a death and once by a drain.
        await first.lead_to(await stage.node(new), signal.SIGKILL)
        await second.lead_to(await stage.node(old), signal.SIGKILL)
        await go_on(stage, clients)
        await first.lead_to(await stage.node(old), signal.SIGTERM)
        await second.lead_to(await stage.node(new), signal.SIGTERM)
        await go_on(stage, clients)
        moves += 4
    await list_both_nodes(fronts)

    for worker in workers:
        assert await worker.stop() == 0
    took_s = time.monotonic() - began_s
    for client in clients:
        await check(client, stage.stored(client))
    check_coherence(stage.store)
    got = sum(len(events) for client in clients for events in client.seen().values())
    found = f"{took_s:.0f} s, {moves} nodes replaced, {sum(map(stage.store.xlen, STREAMS))} events"
    print(f"\n{new.name}: {found}, {got} events received, each once and in order")  # noqa: T201


async def statuses(fronts: Sequence[Front]) -> list[int]:
    """The answers to a client without a token that asks for all orders."""
    found = []
    async with http_client() as http:
        for front in fronts:
            url = f"{front.url}/v1/events?channel=orders"
            async with http.stream("GET", url) as answer:
                found.append(answer.status_code)
    return found


async def go_on(stage: Stage, clients: list[Client]) -> None:
    """Wait until each client has an event that is newer than this moment."""
    await until(lambda: all(map(stage.store.exists, STREAMS)))
    heads = stage.heads()
    for client in clients:
        await until(partial(client.is_after, heads))


async def check(client: Client, stored: Events) -> None:
    """A client has all that is stored, once and in order, and no node failed."""
    last = {stream: EventId.of_entry(events[-1][0].encode()) for stream, events in stored.items()}
    await until(lambda: client.newest() == last)
    assert client.seen() == stored, client.name
    assert "the server answered 5" not in "".join(client.tail.err)


async def list_both_nodes(fronts: Sequence[Front]) -> None:
    """Wait until each node lists itself and the one of the other version."""
    async with http_client() as client:
        for front in fronts:

            async def both(url: str = f"{front.url}/v1/nodes") -> bool:
                return len((await client.get(url)).json()["nodes"]) >= 2

            await until(both)


@pytest.mark.parametrize("older_node", [True, False])
async def test_a_request_is_answered_by_a_worker_of_the_other_version(
    stage: Stage, fronts: tuple[Front, Front], old: Version, older_node: bool
) -> None:
    node, other = (old, NEW) if older_node else (NEW, old)
    front = fronts[0]
    await front.lead_to(await stage.node(node))
    later = await stage.node(other)
    await stage.worker(other, "recommendations", "4")
    path = "/v1/pets/recommendations/stream?userId=you"
    tail = await stage.run(node, "broadcaster", "tail", path, "--base-url", front.url)
    await tail.line('"type"')
    # Half-way through the answer, its reader has to change to a node of the worker's version.
    await front.lead_to(later, signal.SIGKILL)
    assert await tail.ended() == 0
    own = ("stream.live", "stream.at")  # a `tail` of the older version shows each of them
    events = [line for line in map(json.loads, tail.out) if line["type"] not in own]
    ids = [event["id"].partition(",")[0].removeprefix("recommendations=") for event in events]
    assert ids == [str(event.id) for event in events_of(stage.store, "recommendations")]
    assert events[-1]["type"] == "complete"
