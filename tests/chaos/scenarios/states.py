"""States: folders that die, that are two and that are away, and a Redis that forgets."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from broadcaster import EmbeddedRedis
from broadcaster.core.state.checkpoint import AT, Mark, mark_of
from tests.chaos.analysis import Span, of_groups, seen
from tests.chaos.facts import CHANNELS, STREAMS, Facts
from tests.chaos.history import ZERO, Cut, Id, Kind, Subscription, id_of
from tests.chaos.producer import client_of, entries
from tests.chaos.proxy import Proxy
from tests.chaos.stage import Stage
from tests.wait import until

_KEYS, _TYPES = ("k1", "k2", "k3"), ("t1", "gone")
_GROUPS = {
    **{name: (f"/{name}?from=state", Subscription((name,))) for name in STREAMS},
    "all": (f"/v1/events?channel={','.join(STREAMS)}&from=state", Subscription(STREAMS)),
    "keys": (
        "/append?from=state&" + "&".join(f"key={key}" for key in _KEYS),
        Subscription(("append",), keys=_KEYS),
    ),
    "types": (
        "/v1/events?channel=last,merge&from=state&" + "&".join(f"type={one}" for one in _TYPES),
        Subscription(("last", "merge"), types=_TYPES),
    ),
}
_LIVE = "/last", Subscription(("last",))
_WITHIN_S = 0.8
"""A folder is killed at any moment of so many seconds after it has begun."""
_RETAINED = 20
_AT_ONCE = 50
_FOLDED_S = 60.0
_PATIENT = "?socket_timeout=30"
_LOCKS = [f"{{{stream}}}:folder" for stream in STREAMS]


async def forgotten(stage: Stage) -> None:
    """Kill folders, have two of them, or none; trim, fail over, and flush meanwhile."""
    play = _Play(stage)
    await play.begin()
    await play.die(stage.count(40, 4))
    await play.be_two(stage.size(20.0, 3.0))
    whole_s = time.monotonic()
    away = await play.be_away()
    await play.fail_over()
    await play.flush()
    await stage.load.ask("churn", mean_life_s=0.0)
    await stage.quiet()
    await stage.settle(streams=STREAMS)
    holes, count = _holes(stage, (0.0, whole_s))
    what = "states lack nothing while folders die, and while two write"
    stage.show(what, f"{holes} of {count} say that they do", not holes and count > 0)
    holes, count = _holes(stage, away, "away")
    what = "after a retention without a folder, a new node says that something is missing"
    stage.show(what, f"{holes} of {count} states", holes == count > 0)
    stage.show("no checkpoint is ahead of its log", f"{play.ahead}", not play.ahead)
    resumed = f"of {stage.report.connections:,} connections"
    stage.show("states are right", f"{stage.report.states:,} {resumed}", stage.report.states > 0)
    stage.show_reasons("trimmed", "rollback", "unknown")


def _holes(stage: Stage, span: Span, *groups: str) -> tuple[int, int]:
    """How many of the states in a time say that something is missing, and how many there are."""
    wanted = (of_groups(*groups),) if groups else ()
    states = list(seen(stage.recording, *span, Kind.STATE, *wanted))
    return sum('"since"' in state.block.data for state in states), len(states)


def _url(proxy: Proxy) -> str:
    return "redis://{}:{}/0".format(*proxy.address)


class _Play:
    """The parts of the scenario, and what they share.

    Attributes:
        ahead: checkpoints that had more than their log after a failover.
    """

    def __init__(self, stage: Stage) -> None:
        self.ahead: list[str] = []
        self._stage = stage
        self._keys = [f"k{number}" for number in range(stage.count(1500, 600))]
        self._waves = 0

    async def begin(self) -> None:
        """Give each key a value, and open clients that come and go."""
        stage = self._stage
        await self._publish_to(stage.redis.url)
        await self._each_key()
        self._of_nodes, self._of_folders = [
            await stage.proxy(("127.0.0.1", stage.redis.port)) for _ in range(2)
        ]
        await stage.start_nodes(2, url=_url(self._of_nodes), also=CHANNELS)
        self._folders = [stage.folder(_url(self._of_folders)) for _ in range(2)]
        await stage.open("live", stage.count(20, 3), *_LIVE)
        await self._join()
        await stage.load.ask("churn", mean_life_s=stage.size(5.0, 2.0))

    async def _publish_to(self, url: str) -> None:
        stage = self._stage
        stage.use(url + _PATIENT)
        self._producer = Facts(url, stage.ledger, stage.random, keys=self._keys)
        await stage.closing(self._producer.aclose)
        stage.background(self._producer.run(stage.size(120, 60)))

    async def _each_key(self) -> None:
        """A flush of so many keys has several pieces."""
        places = [(stream, key) for key in self._keys for stream in STREAMS]
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            await asyncio.gather(*(self._producer.publish(*place) for place in some))

    async def _join(self) -> None:
        """Let new clients of each kind come, which begin with the state."""
        for group, (path, subscription) in _GROUPS.items():
            name = f"{group} {self._waves}"
            await self._stage.open(name, self._stage.count(4, 2), path, subscription)
        self._waves += 1

    # Folders

    async def die(self, times: int) -> None:
        """Kill a folder at any moment. What the checkpoint has is trimmed, so nothing may lack."""
        folder, _ = self._folders
        for number in range(times):
            await self._unlock()
            await folder.start()
            await until(self._locked, _FOLDED_S)
            seldom = not number % self._stage.count(8, 2)
            renewing = asyncio.create_task(self._renew(joined=seldom))
            await asyncio.sleep(self._stage.random.uniform(0.0, _WITHIN_S))
            if seldom:
                await self._each_key()
            await folder.kill()
            await self._trim_folded()
            await renewing

    async def be_two(self, seconds: float) -> None:
        """Take the lock away from two folders again and again, so that both write."""
        for folder in self._folders:
            await folder.start()
        renewing = asyncio.create_task(self._renew(joined=True))
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s or not renewing.done():
            await self._unlock()
            await asyncio.sleep(0.1)
            await self._trim_folded()
        await renewing

    async def be_away(self) -> Span:
        """Trim what no folder has read. Return the time in which new nodes lack something."""
        for folder in self._folders:
            await folder.kill()
        for number in range(2 * _RETAINED):
            for stream in STREAMS:
                await self._producer.publish(stream, self._keys[number])
        for stream in STREAMS:
            await self._stage.client.xtrim(stream, _RETAINED, approximate=False)
        began_s = time.monotonic()
        _, new = self._stage.nodes
        await self._renew(joined=False)
        await self._stage.aim(new.target)
        await self._stage.open("away", self._stage.count(20, 3), *_GROUPS["all"])
        await self._stage.aim(*(node.target for node in self._stage.nodes))
        ended_s = time.monotonic()
        await self._unlock()
        for folder in self._folders:
            await folder.start()
        await self._folded()
        await self._renew(joined=True)
        return began_s, ended_s

    async def _renew(self, *, joined: bool) -> None:
        """Put a node in the place of one that is killed, and let clients join if wanted."""
        _, node = self._stage.nodes
        await node.kill()
        await node.start()
        if joined:
            await self._join()

    # Redis

    async def fail_over(self) -> None:
        """Lose the end of the log with its master, which nodes and folders have read by then.

        Folders stay with the old master for longer than the nodes, as sentinels may let them.
        """
        stage, producer = self._stage, self._producer
        replica = await stage.entered(EmbeddedRedis())
        other = client_of(replica.url + _PATIENT)
        await stage.closing(other.aclose)
        link = await stage.proxy(("127.0.0.1", stage.redis.port))
        await other.execute_command("REPLICAOF", *link.address)

        async def in_step() -> bool:
            marks = [await self._mark(stream, other) for stream in STREAMS]
            return marks == [await self._mark(stream, stage.client) for stream in STREAMS]

        await until(in_step, _FOLDED_S)
        link.dead = True  # from here on the replica gets nothing
        await producer.run(stage.size(120, 60), 1.0)
        producer.paused = True
        await self._folded()  # a checkpoint that is lost as well
        await other.execute_command("REPLICAOF", "NO", "ONE")
        for stream in STREAMS:
            kept = sorted(await entries(other, stream))
            mark = await self._mark(stream, other)
            if mark and mark.position and mark.position > await self._head(stream, other):
                self.ahead.append(stream)
            stage.ledger.cuts.append(Cut(stream, time.monotonic(), kept))
        self._lead(self._of_nodes, replica)
        await self._publish_to(replica.url)
        await asyncio.sleep(stage.size(3.0, 1.0))
        self._lead(self._of_folders, replica)
        await self._folded()
        await self._renew(joined=True)

    def _lead(self, proxy: Proxy, server: EmbeddedRedis) -> None:
        proxy.target = ("127.0.0.1", server.port)
        proxy.cut()

    async def flush(self) -> None:
        """Lose everything."""
        self._producer.paused = True
        await asyncio.sleep(0.3)
        await self._stage.client.flushall()
        self._stage.ledger.cuts += [Cut(stream, time.monotonic(), []) for stream in STREAMS]
        self._producer.paused = False
        await self._each_key()
        await self._folded()
        await self._trim_folded()
        await self._renew(joined=True)

    # Checkpoints

    async def _mark(self, stream: str, client: Any) -> Mark | None:
        """The mark of a checkpoint, which lies in the slot of its stream."""
        return mark_of(await client.hget(f"{{{stream}}}:state", AT))

    async def _head(self, stream: str, client: Any) -> Id:
        """The newest id that a server has ever given to an entry of a stream."""
        if not await client.exists(stream):
            return ZERO
        info = await client.xinfo_stream(stream)
        return id_of(info["last-generated-id"].decode()) or ZERO

    async def _folded(self) -> None:
        """Wait until all checkpoints have come to the present."""
        for stream in STREAMS:
            head = await self._head(stream, self._stage.client)

            async def has_come(stream: str = stream, head: Id = head) -> bool:
                mark = await self._mark(stream, self._stage.client)
                return bool(mark and mark.position and mark.position >= head)

            await until(has_come, _FOLDED_S)

    async def _locked(self) -> bool:
        return bool(await self._stage.client.exists(*_LOCKS) == len(_LOCKS))

    async def _unlock(self) -> None:
        """As if the time of a dead folder's lock were over; nothing may depend on it."""
        await self._stage.client.delete(*_LOCKS)

    async def _trim_folded(self) -> None:
        """Trim what the checkpoints have, with or without the entry of their positions."""
        for stream in STREAMS:
            mark = await self._mark(stream, self._stage.client)
            if mark is not None and mark.position is not None:
                ms, seq = mark.position
                seq += self._stage.random.randrange(2)
                await self._stage.client.xtrim(stream, minid=f"{ms}-{seq}", approximate=False)
