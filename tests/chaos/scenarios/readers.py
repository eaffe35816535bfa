"""Clients that stop reading, that are gone without a word, and that leave in the middle of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tests.chaos.analysis import notes, of_groups, p99_ms
from tests.chaos.history import Subscription
from tests.chaos.namespace import drop_packets, limit_send_buffers
from tests.chaos.processes import Node
from tests.chaos.stage import Stage
from tests.wait import until

_ONE = Subscription(("a",))
_DEAD_ADDRESS = "127.0.0.200"
_HIGH_WATER = 65536
_RATE = 200
_EVENT_BYTES = 1000
_SEND_BUFFER = 256 * 1024
_PATIENCE_S = 60.0
_POLL_S = 0.25


async def stalled(stage: Stage) -> None:
    """Some clients stop reading. Half of them go on later, and the others never do."""
    send_timeout_s = stage.size(20.0, 10.0)
    # The kernel would take four megabytes for each, and until then the node would notice nothing.
    limit_send_buffers(_SEND_BUFFER)
    # A window that is full early, so that memory does not grow because of it, and has all that they
    # miss, as those of a usual size have.
    window_events = round(_RATE * (send_timeout_s + 4.0))
    (node,) = await stage.start_nodes(1, send_timeout_s=send_timeout_s, window_events=window_events)
    # 2,000 clients at this rate are 400 MB/s: more than a small machine can carry.
    others, few = stage.count(400, 150), stage.count(20, 10)
    await stage.open("others", others, "/a", _ONE)
    for group in ("for a while", "for good"):
        await stage.open(group, few, "/a", _ONE)
    stage.background(stage.producer(size=_EVENT_BYTES).run(_RATE))
    await asyncio.sleep(window_events / _RATE + 1.0)
    quiet_s, quiet_bytes = time.monotonic(), node.rss_bytes()
    await asyncio.sleep(stage.size(20.0, 8.0))
    stalled_s, before_bytes = time.monotonic(), node.rss_bytes()
    for group in ("for a while", "for good"):
        await stage.load.ask("read_on", group=group, wanted=False)
    await asyncio.sleep(send_timeout_s * 0.8)
    grown = node.rss_bytes() - before_bytes - max(0, before_bytes - quiet_bytes)
    lagging = await node.metric("broadcaster_connections", state="lagging")
    read_on_s, late = time.monotonic(), await node.times_late()
    await stage.load.ask("read_on", group="for a while", wanted=True)
    cut = 0

    # They notice only after they have read the kernel's buffer, so the node is asked.
    async def all_are_cut() -> bool:
        nonlocal cut
        await asyncio.sleep(_POLL_S)
        closed = "broadcaster_connections_closed_total"
        cut = int(await node.metric(closed, reason="send_timeout"))
        return cut == few

    with suppress(TimeoutError):
        await until(all_are_cut, _PATIENCE_S + send_timeout_s)
    ended_s, late = time.monotonic(), await node.times_late() - late
    cut_s = ended_s - stalled_s
    await stage.load.ask("read_on", group="for good", wanted=True)
    await stage.quiet()
    await stage.settle()
    before_ms, during_ms, after_ms = (
        p99_ms(stage.recording, stage.ledger, [span], of_groups("others"))
        for span in ((quiet_s, stalled_s), (stalled_s, read_on_s), (read_on_s, ended_s))
    )
    stage.show(
        "p99 of the others: at most 10 % more (or 1 ms)",
        f"{before_ms:.1f} ms before, {during_ms:.1f} ms during",
        during_ms <= max(before_ms * 1.1, before_ms + 1.0),
        busy=True,
    )
    # The load generator has more to do with what they missed than the node: no limit for that.
    stage.show("and while some catch up", f"{after_ms:.1f} ms", True)
    stage.show_no_stall(late)
    stage.show("all who do not read lag", f"{lagging:.0f} of {2 * few}", lagging == 2 * few)
    limit = 2 * few * (_HIGH_WATER + 1000 * (_EVENT_BYTES + 100))
    stage.show(
        f"memory: at most {limit / 1e6:.1f} MB more", f"{grown / 1e6:.1f} MB", grown <= limit
    )
    gone = notes(
        stage.recording, "disconnect", stalled_s, time.monotonic(), of_groups("for a while")
    )
    gone = [note for note in gone if note[1] != "left"]
    stage.show("who reads on catches up", f"{len(gone)} of {few} were cut", not gone)
    limit_s = send_timeout_s + 10.0
    stage.show(
        f"who does not is cut, all within {limit_s:.0f} s",
        f"{cut} of {few}, the last after {cut_s:.0f} s",
        cut == few and cut_s <= limit_s,
        busy=cut == few,
    )
    stage.show_no_reset()


async def half_open(stage: Stage) -> None:
    """Links go dead without a FIN: nothing comes back, not even an acknowledgement."""
    (node,) = await stage.start_nodes(1)
    base, living, dying = node.open_files(), 50, stage.count(500, 100)
    await stage.open("living", living, "/a", _ONE)
    await stage.open("dying", dying // 2, "/a", _ONE, source=_DEAD_ADDRESS)
    # If only heartbeats are sent, only they can show that the client is gone.
    quiet = Subscription(("b",))
    await stage.open("dying quietly", dying - dying // 2, "/b", quiet, source=_DEAD_ADDRESS)
    stage.background(stage.producer().run(20))
    await asyncio.sleep(1.0)
    full = node.open_files()
    await drop_packets(_DEAD_ADDRESS)
    dead_s = time.monotonic()
    with suppress(TimeoutError):
        await until(lambda: node.open_files() <= base + living + 2, stage.size(90.0, 50.0))
    seconds, left = time.monotonic() - dead_s, node.open_files() - base - living
    counted = await node.metric("broadcaster_connections")
    before = full - base - living
    stage.show(f"{dying} links go dead", f"{before}", before == dying)
    stage.show(
        "they are freed in 45 s",
        f"after {seconds:.0f} s {left} are left",
        seconds <= 45.0,
        busy=left <= 2,
    )
    stage.show("counters are right", f"broadcaster_connections: {counted}", counted == living)
    await drop_packets(_DEAD_ADDRESS, wanted=False)
    await stage.load.ask("drop")
    await stage.live(30.0)
    await stage.quiet()
    await stage.producer().publish("b", "k0")
    await stage.settle()
    stage.show_no_reset()


async def aborted(stage: Stage) -> None:
    """Many connect through a slow proxy and are gone at once, while others replay."""
    (node,) = await stage.start_nodes(1)
    producer = stage.producer(streams=("a", "b"))
    for number in range(2000):
        await producer.publish("ab"[number % 2], f"k{number % 4}")
    await stage.open_mix(100)
    base = await _held(stage, node)
    stage.background(producer.run(50))
    await stage.load.ask("churn", mean_life_s=3.0)
    proxy = await stage.proxy(node.target)
    proxy.delay_s = 0.005
    total = stage.count(10_000, 1500)
    opened = await _opened(node)
    made, _ = await asyncio.gather(_abort_many(stage, proxy.address, total), _replay(stage))
    opened = await _opened(node) - opened
    await stage.load.ask("churn", mean_life_s=0.0)
    await stage.quiet()
    await stage.live(20.0)
    after = base

    async def is_back() -> bool:
        nonlocal after
        after = await _held(stage, node)
        return all(abs(now - then) <= 2 for now, then in zip(after, base, strict=True))

    with suppress(TimeoutError):
        await until(is_back, 20.0)
    stage.show(f"{total} connect", f"{made}", made == total)
    # A third of the requests are not whole, and some are gone before the proxy has passed them on.
    stage.show("at least a third open a stream", f"{opened}", opened >= total / 3)
    stage.show(
        "then descriptors, tasks and Redis connections are as before",
        f"{base} and {after}",
        await is_back() and min(base) > 0,
    )
    await stage.settle()
    stage.show_no_reset()


async def _opened(node: Node) -> int:
    return int(await node.metric("broadcaster_connections_opened_total"))


async def _held(stage: Stage, node: Node) -> tuple[int, int, int]:
    clients = await stage.client.client_list()
    ours = sum(client["name"] == "broadcaster" for client in clients)
    return node.open_files(), int(await node.metric("broadcaster_tasks")), ours


async def _replay(stage: Stage) -> None:
    """Clients that come one after another, read all that there is, and go."""
    for number in range(stage.count(20, 5)):
        for streams in (("a",), ("a", "b")):
            group = f"replay {number} of {','.join(streams)}"
            path = f"/v1/events?channel={','.join(streams)}&from=earliest"
            await stage.open(group, 10, path, Subscription(streams, earliest=True))
            await stage.reach(group)
            await stage.load.ask("leave", group=group)


async def _abort_many(stage: Stage, target: tuple[str, int], total: int) -> int:
    places = asyncio.Semaphore(100)
    return sum(await asyncio.gather(*(_abort(stage, places, target, n) for n in range(total))))


async def _abort(
    stage: Stage, places: asyncio.Semaphore, target: tuple[str, int], number: int
) -> bool:
    """Connect, send all or part of a request, and leave. Return True if it was connected."""
    paths = ("/a?from=earliest", "/v1/events?channel=a,b&from=earliest", "/b?key=k1&from=1h")
    async with places:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*target)
            request = f"GET {paths[number % 3]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            writer.write(request[: stage.random.choice((10, len(request), len(request)))])
            await asyncio.sleep(stage.random.uniform(0.0, 0.03))
            writer.transport.abort()
            return True
    return False
