"""Nodes that die, that are replaced, and that stand still."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from contextlib import suppress
from typing import Any

from tests.chaos.analysis import notes, outages, peak_to_mean, quantile, resets
from tests.chaos.haproxy import balanced
from tests.chaos.history import Subscription
from tests.chaos.stage import Skipped, Stage
from tests.command_line import children
from tests.wait import until

_ONE = Subscription(("a",))
_REPLACED_S = 30.0


async def kills(stage: Stage) -> None:
    """`kill -9` of one of three nodes every 20 s, behind HAProxy, and of all three at the end."""
    if shutil.which("haproxy") is None:
        raise Skipped("no haproxy on the PATH")
    nodes = await stage.start_nodes(3, retry_min_ms=1000, retry_max_ms=5000)
    async with balanced(stage.directory, [node.port for node in nodes]) as address:
        await stage.aim(address)
        async with stage.watched(address):
            await stage.open_mix(stage.count(2000, 300))
            # HAProxy costs as much as node and client together.
            stage.background(stage.producer(streams=("a", "b")).run(stage.size(25, 50)))
            for number in range(stage.count(5, 3)):
                await asyncio.sleep(stage.size(15.0, 5.0))
                await nodes[number % 3].kill()
                await asyncio.sleep(stage.size(5.0, 3.0))
                await nodes[number % 3].start()
            await stage.live(30.0)
            none_s = time.monotonic()
            for node in nodes:
                await node.kill()
            await asyncio.sleep(4.0)
            await asyncio.gather(*(node.start() for node in nodes))
            await stage.live(30.0)
        await stage.quiet()
        await stage.settle()
    found = [o for o in outages(stage.recording) if o.start_s < none_s]
    over_s = sorted(outage.seconds - outage.retry_s for outage in found)
    p99_s = quantile(over_s, 0.99)
    stage.show(
        "outages beyond the client's retry: p99 at most 2 s",
        f"{p99_s:.2f} s of {len(over_s)}, the longest {max(over_s, default=0.0):.2f} s",
        p99_s <= 2.0,
        busy=True,
    )
    stage.show_no_reset()


async def rolling_restart(stage: Stage) -> None:
    """SIGTERM to all nodes in turn, while they serve all clients."""
    drain_s, least_ms, most_ms = 10.0, 1000, 5000
    settings: dict[str, Any] = {"drain_s": drain_s, "log_level": "debug", "shed_retry_ms": 2000}
    nodes = await stage.start_nodes(2, retry_min_ms=least_ms, retry_max_ms=most_ms, **settings)
    await stage.open_mix(stage.count(2000, 800))
    stage.background(stage.producer(streams=("a", "b")).run(50))
    worst_s, peaks, asked = 0.0, [], []
    async with stage.watched(nodes[0].target):
        for node in nodes:
            started_s = time.monotonic()
            node.signal(signal.SIGTERM)
            status = await node.ended()
            worst_s = max(worst_s, time.monotonic() - started_s)
            asked.append((started_s, time.monotonic(), status))
            await node.start()
            await stage.live(30.0)
    await stage.quiet()
    await stage.settle()
    for started_s, ended_s, _ in asked:
        lost = [o for o in outages(stage.recording) if started_s <= o.start_s <= ended_s]
        spread_s = drain_s + (most_ms - least_ms) / 1000
        peaks.append(peak_to_mean((o.start_s + o.seconds for o in lost), spread_s))
    statuses = {status for _, _, status in asked}
    stage.show("exit status 0", f"{statuses}", statuses == {0})
    stage.show(f"in {drain_s:.0f} + 5 s", f"{worst_s:.1f} s", worst_s <= drain_s + 5.0, busy=True)
    logs = [node.log.read_text() for node in nodes]
    done = sum("Application shutdown complete" in log for log in logs)
    stage.show("lifespan shutdown ran", f"{done} of {len(nodes)}", done == len(nodes))
    peak, mean = max(peaks, key=lambda found: found[0] / (found[1] or 1))
    stage.show(
        "reconnects are spread: the peak second at most twice the mean",
        f"{peak} and {mean:.0f}",
        peak <= 2 * mean,
        busy=True,
    )
    stage.show_no_reset()


async def standstill(stage: Stage) -> None:
    """SIGSTOP a node while the stream cycles ten times past it."""
    (node,) = await stage.start_nodes(1)
    await stage.open("one", stage.count(1000, 100), "/a", _ONE)
    keyed = Subscription(("a",), keys=("k0",))
    await stage.open("keys", stage.count(1000, 100), "/a?key=k0", keyed)
    maxlen = 100
    producer = stage.producer(maxlen=maxlen)
    for _ in range(maxlen):
        await producer.publish("a", "k0")
    await stage.reach("one")
    node.signal(signal.SIGSTOP)
    for number in range(10 * maxlen):
        await producer.publish("a", f"k{number % 4}")
    resumed_s = time.monotonic()
    node.signal(signal.SIGCONT)
    # Without trimming: what a reset must not go past has to be there to the end.
    await stage.producer().publish("a", "k0")
    await stage.settle()
    told = resets(stage.recording, resumed_s, time.monotonic())
    count, last_s = sum(map(bool, told.values())), max(max(t, default=0) for t in told.values())
    stage.show("every client gets a reset", f"{count} of {len(told)}", count == len(told))
    most = max(map(len, told.values()))
    stage.show("and exactly one", f"at most {most}", most == 1)
    stage.show("how soon", f"{last_s - resumed_s:.2f} s", True)
    stage.show_reasons("trimmed")
    lost = notes(stage.recording, "disconnect", resumed_s, time.monotonic())
    lost = [note for note in lost if note[1] != "left"]
    stage.show("clients stay connected", f"{len(lost)} lost", not lost)


async def full(stage: Stage) -> None:
    """More clients than a node may have: they are sent away for a while, and never for good."""
    count = stage.count(1000, 200)
    (small,) = await stage.start_nodes(1, shed_retry_ms=500, max_connections=count // 4)
    await stage.start_nodes(1)
    await stage.open_mix(count)
    stage.background(stage.producer(streams=("a", "b")).run(50))
    await stage.aim(small.target)
    await stage.load.ask("drop", share=0.2)
    await asyncio.sleep(1.0)
    async with stage.watched(small.target):
        await stage.load.ask("drop", share=0.2)
        await asyncio.sleep(stage.size(30.0, 8.0))
    await stage.aim(*(node.target for node in stage.nodes))
    await stage.live(30.0)
    await stage.quiet()
    await stage.settle()
    shed = notes(stage.recording, "disconnect", 0.0, time.monotonic())
    sent_away = sum(cause == "ended" or cause == "closed" for _, cause in shed)
    stage.show("clients are sent away", f"{sent_away} times", sent_away > 0)
    stage.show_no_reset()


async def hanging(stage: Stage) -> None:
    """One of two processes that share a port hangs, with its clients and half of all newcomers."""
    if stage.quick:
        raise Skipped("a parent takes 15 s to notice; see tests/commands/test_supervisor.py")
    (node,) = await stage.start_nodes(1, workers=2)
    await until(lambda: len(children(node.pid)) == 2)
    await stage.open("quiet", 40, "/a", _ONE)
    stage.background(stage.producer().run(20))
    hung, other = children(node.pid)
    began_s = time.monotonic()
    os.kill(hung, signal.SIGSTOP)
    try:
        await stage.open("newcomers", 40, "/a", _ONE)
        seconds = time.monotonic() - began_s
        await stage.live(_REPLACED_S)
        members = children(node.pid)
    finally:
        with suppress(ProcessLookupError):  # it takes no SIGTERM, so it would outlive its parent
            os.kill(hung, signal.SIGKILL)
    await stage.quiet()
    await stage.settle()
    stage.show(
        f"newcomers are served within {_REPLACED_S:.0f} s",
        f"the last of 40 after {seconds:.1f} s",
        seconds <= _REPLACED_S,
        busy=True,
    )
    replaced = len(members) == 2 and other in members and hung not in members
    stage.show("the process that hangs is replaced, and the other is not", f"{replaced}", replaced)
    stage.show_no_reset()
