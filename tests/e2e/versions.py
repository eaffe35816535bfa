"""Several versions of the code at one Redis: their nodes, workers, folders and clients.

The file `older-commit` names the older commits: see CONTRIBUTING.md.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from broadcaster import EventId
from tests.chaos.proxy import Proxy
from tests.command_line import Running, Start, ready
from tests.web.tokens.issuers import SECRET, token
from tests.workers.conftest import events_of
from workers.store import PETS

ROOT = Path(__file__).parents[2]
OLDER_COMMITS = Path(__file__).with_name("older-commit").read_text().split()
"""The base, which knows no states, and a recent one, whose states and runs are those of today."""
BEARER = Path(__file__).with_name("bearer.py")
STREAMS = ("inventory", "orders")
KEY = PETS[0].id
LASTS_S = float(os.environ.get("LASTS_S", "0"))  # an update is repeated for so long
RATE = "100" if LASTS_S else "40"  # events per second of each worker
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

Events = dict[str, list[tuple[str, str, Any]]]
"""Id, type and data of each event, by its stream, in their order."""


class Version(NamedTuple):
    """The code that a process runs.

    Attributes:
        name: for messages.
        directory: has the packages `broadcaster` and `workers`.
        guarded: its nodes read tokens.
        stateful: its channels are those of the pet store, and have states.
    """

    name: str
    directory: Path
    guarded: bool = False
    stateful: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """The settings of its processes."""
        settings = {"BROADCASTER_DRAIN_S": "0.5"}
        if not self.stateful:
            channels = GUARDED_CHANNELS if self.guarded else CHANNELS
            settings["BROADCASTER_CHANNELS"] = json.dumps(channels)
        if self.guarded:
            settings["BROADCASTER_TOKEN_SECRETS"] = json.dumps([SECRET])
        return settings


NEW = Version("new", ROOT)
GUARDED = Version("new and guarded", ROOT, guarded=True)
STATEFUL = Version("new with states", ROOT, stateful=True)


def unpacked(commit: str, directory: Path) -> bool:
    """Put the files of a commit into a directory. Return False if this clone does not have it."""
    archive = subprocess.run(
        ("git", "-C", ROOT, "archive", commit), capture_output=True, check=False
    )
    if archive.returncode:
        return False
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return True


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

    async def folder(self, version: Version) -> Running:
        """Start a folder."""
        return await self.run(version, "broadcaster", "fold", "--redis-url", self._redis_url)

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
