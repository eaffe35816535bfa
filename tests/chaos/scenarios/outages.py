"""Redis goes away, comes back, stands still, or is another one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx

from broadcaster import EmbeddedRedis
from broadcaster.backend.tailer import BLOCK_S
from tests.chaos.analysis import (
    Span,
    Wanted,
    everyone,
    first_new_event_s,
    following,
    notes,
    of_groups,
    outages,
    resets,
)
from tests.chaos.history import Cut, Id, Subscription, text_of
from tests.chaos.processes import Node
from tests.chaos.producer import client_of, entries
from tests.chaos.proxy import Proxy
from tests.chaos.stage import MIX, Stage
from tests.wait import until

_POLL_S = 0.25


async def restarts(stage: Stage) -> None:
    """Restart Redis, cut its clients off, pause them, and let it sleep."""
    await stage.start_nodes(2)
    await stage.open_mix(stage.count(2000, 200))
    stage.background(stage.producer(streams=("a", "b")).run(50))
    away_s = stage.size(10.0, 5.0)

    async def restart() -> None:
        await asyncio.to_thread(stage.redis.stop)
        await _newcomers(stage, tabs, away_s)
        await asyncio.to_thread(stage.redis.start)

    async def kill_clients() -> None:
        await stage.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def pause_clients() -> None:
        await stage.client.execute_command("CLIENT", "PAUSE", int(away_s * 1000), "ALL")
        await _newcomers(stage, tabs, away_s)

    async def sleep() -> None:
        patient = client_of(stage.redis.url + f"?socket_timeout={away_s + 5}")
        await asyncio.gather(
            patient.execute_command("DEBUG", "SLEEP", away_s), _newcomers(stage, tabs, away_s)
        )
        await patient.aclose()

    spans: dict[str, Span] = {}
    async with stage.watched(stage.nodes[0].target) as tabs:
        for name, trouble in {
            "a restart": restart,
            "CLIENT KILL": kill_clients,
            "CLIENT PAUSE": pause_clients,
            "DEBUG SLEEP": sleep,
        }.items():
            await asyncio.sleep(2.0)
            spans[name] = await _timed(trouble)
            await asyncio.sleep(8.0)
    await stage.quiet()
    ended_s = time.monotonic()
    await stage.settle()
    for name, span in spans.items():
        _show_delivery(stage, f"{name}: delivery goes on", span[1], 6.0)
        if name != "CLIENT KILL":  # which takes no time
            _show_newcomers(stage, f"{name}: newcomers are served meanwhile", span, 0.5)
    _show_connected(stage, spans["a restart"][0], ended_s)
    running = sum(node.running for node in stage.nodes)
    stage.show("no node exits", f"{running} of {len(stage.nodes)} run", running == len(stage.nodes))
    stage.show_no_reset()


async def _newcomers(stage: Stage, tabs: Proxy, seconds: float) -> None:
    """Wait. Half-way, cut the connections of a hundred clients and of all tabs.

    A smaller number would let chance decide how many of them come to the node that still reads.
    """
    await asyncio.sleep(seconds / 2)
    await stage.load.ask("drop", share=stage.size(0.05, 0.5))
    tabs.cut()
    await asyncio.sleep(seconds / 2)


def _show_delivery(
    stage: Stage, what: str, after_s: float, limit_s: float, wanted: Wanted = everyone
) -> None:
    """Note when the last client got an event that was published after a time."""
    last_s = first_new_event_s(stage.recording, stage.ledger, after_s, wanted)[-1]
    came = last_s < float("inf")
    stage.show(f"{what} in {limit_s:.0f} s", f"{last_s:.2f} s", last_s <= limit_s, busy=came)


def _show_newcomers(stage: Stage, what: str, span: Span, least_share: float) -> None:
    """Note how many of the clients that lost their connection were live before the outage ended.

    Some may not be live. When Redis went away, one node may have read an event that the other had
    not. A client that saw this event waits at the other node.
    """
    lost = [o for o in outages(stage.recording) if span[0] <= o.start_s <= span[1]]
    served = sum(o.start_s + o.seconds < span[1] for o in lost)
    stage.show(what, f"{served} of {len(lost)}", served >= len(lost) * least_share > 0)


def _show_connected(stage: Stage, start_s: float, end_s: float) -> None:
    """Note whether the hub has ended a connection."""
    lost = notes(stage.recording, "disconnect", start_s, end_s)
    cut = sum(cause == "cut" for _, cause in lost)
    measured = f"{len(lost) - cut} lost, but for {cut} that were cut"
    stage.show("clients stay connected", measured, len(lost) == cut > 0)


async def _timed(trouble: Callable[[], Awaitable[None]]) -> Span:
    began_s = time.monotonic()
    await trouble()
    return began_s, time.monotonic()


async def black_hole(stage: Stage) -> None:
    """All bytes between one node and Redis are dropped for 30 s, and connections stay open."""
    proxy = await stage.proxy(("127.0.0.1", stage.redis.port))
    host, port = proxy.address
    (node,) = await stage.start_nodes(1, url=f"redis://{host}:{port}/0")
    await stage.start_nodes(1)
    await stage.open_mix(stage.count(2000, 200))
    stage.background(stage.producer(streams=("a", "b")).run(50))
    async with stage.watched(node.target) as tabs:
        await asyncio.sleep(3.0)
        proxy.dead = True
        dead_s = time.monotonic()

        await until(lambda: _unhealthy(node), 60.0)
        noticed_s = time.monotonic() - dead_s
        limit_s = BLOCK_S + 2.0
        measured = f"{noticed_s:.2f} s"
        stage.show(f"noticed in {limit_s:.0f} s", measured, noticed_s <= limit_s, busy=True)
        rest_s = stage.size(30.0, 12.0) - noticed_s
        _, answers = await asyncio.gather(
            _newcomers(stage, tabs, rest_s), _statuses(node, rest_s - _POLL_S)
        )
        stage.show("not healthy as long as it lasts", f"{dict(answers)}", set(answers) == {503})
        proxy.dead = False
        back_s = time.monotonic()
        await until(node.is_healthy, 60.0)
        again_s = time.monotonic() - back_s
        stage.show("healthy again in 6 s", f"{again_s:.2f} s", again_s <= 6.0, busy=True)
    await asyncio.sleep(5.0)
    await stage.quiet()
    ended_s = time.monotonic()
    await stage.settle()
    _show_delivery(stage, "delivery goes on", back_s, 6.0)
    # Half of them come to the node that stands still, and wait there for what they have seen.
    _show_newcomers(stage, "newcomers are served meanwhile", (dead_s, back_s), 0.25)
    _show_connected(stage, dead_s, ended_s)
    stage.show_no_reset()


async def _unhealthy(node: Node) -> bool:
    return not await node.is_healthy()


async def _statuses(node: Node, seconds: float) -> Counter[int]:
    """Count the statuses of `/v1/health` for some time. No response counts as 0."""
    answers: Counter[int] = Counter()
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        try:
            answers[(await node.get("/v1/health")).status_code] += 1
        except httpx.TransportError:
            answers[0] += 1
        await asyncio.sleep(_POLL_S)
    return answers


def _by_count(counts: Counter[int]) -> str:
    return ", ".join(f"{clients} got {count}" for count, clients in sorted(counts.items()))


async def failover(stage: Stage) -> None:
    """A replica that lacks the last entries takes over, with a clock 60 s behind."""
    replica = EmbeddedRedis()
    await asyncio.to_thread(replica.start)
    other = client_of(replica.url)

    async def close() -> None:
        await other.aclose()
        await asyncio.to_thread(replica.close)

    await stage.closing(close)
    link = await stage.proxy(("127.0.0.1", stage.redis.port))
    await other.execute_command("REPLICAOF", *link.address)
    master = await stage.proxy(("127.0.0.1", stage.redis.port))
    host, port = master.address
    await stage.start_nodes(2, url=f"redis://{host}:{port}/0")
    await stage.open_mix(stage.count(2000, 200))
    producer = stage.producer(streams=("a", "b"))
    await producer.run(50, 4.0)

    async def in_step() -> bool:
        return await entries(other, "a") == await entries(stage.client, "a")

    await until(in_step, 20.0)
    link.dead = True  # from here on the replica gets nothing
    await producer.run(50, 3.0)
    await stage.live(10.0)
    kept = {stream: await entries(other, stream) for stream in ("a", "b")}
    gone = {stream: await entries(stage.client, stream) for stream in ("a", "b")}
    tail = sorted(gone["a"].keys() - kept["a"].keys())
    await asyncio.to_thread(stage.redis.kill)
    await other.execute_command("REPLICAOF", "NO", "ONE")
    promoted_s = time.monotonic()
    for stream, ids in kept.items():
        stage.ledger.cuts.append(Cut(stream, promoted_s, sorted(ids)))
    master.target = ("127.0.0.1", replica.port)
    master.cut()
    await _publish_behind(stage, replica.url, kept)
    arrived_s = time.monotonic()
    last, first, kept_b = map(text_of, (tail[-1], tail[0], max(kept["b"])))
    late = {"last lost": last, "first lost": first, "last lost, and b": f"a={last},b={kept_b}"}
    for group, cursor in late.items():
        streams = ("a", "b") if "=" in cursor else ("a",)
        path = f"/v1/events?channel={','.join(streams)}"
        await stage.open(group, 5, path, Subscription(streams), last_id=cursor)
    stage.use(replica.url)
    await stage.settle()
    _show_delivery(stage, "new events reach clients", promoted_s, 2.0, of_groups(*MIX))
    for stream in ("a", "b"):
        wanted = following(stream)
        told = resets(stage.recording, promoted_s, time.monotonic(), stream, wanted)
        counts = Counter(len(times) for name, times in told.items() if "lost" not in name)
        what = f"every client of {stream} is told, once"
        stage.show(what, _by_count(counts), set(counts) == {1})
    came = resets(stage.recording, arrived_s, time.monotonic(), "a", of_groups(*late))
    counts = Counter(map(len, came.values()))
    stage.show("so is a cursor of the lost end", _by_count(counts), set(counts) == {1})
    stage.show_reasons("rollback", "unknown")
    stage.show("entries lost by Redis", f"{len(tail)} of stream a", len(tail) > 10)


async def _publish_behind(stage: Stage, url: str, kept: dict[str, dict[Id, str]]) -> None:
    """As a server does whose clock is behind the stream: the newest id's time, counted on."""
    producer = stage.producer(url=url)
    for number in range(150):
        stream = "ab"[number % 2]
        await producer.publish(stream, f"k{number % 4}", id_=f"{max(kept[stream])[0]}-*")
        await asyncio.sleep(0.02)
