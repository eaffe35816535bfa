"""Connections that are lost: at every byte, at random, all at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.chaos.analysis import outages
from tests.chaos.history import Subscription
from tests.chaos.stage import Stage

_RETRY_AT_ONCE: dict[str, Any] = {"retry_min_ms": 1, "retry_max_ms": 2}
_EVENTS = 50
_BATCH = 250


async def every_byte(stage: Stage) -> None:
    """Cut the stream after every byte of a recording, and resume on the other node."""
    for stream, count, maxlen in (("a", _EVENTS, None), ("b", 10, None), ("c", 20, 10)):
        producer = stage.producer(maxlen=maxlen)
        for number in range(count):
            await producer.publish(stream, f"k{number % 4}")
    await stage.start_nodes(2, **_RETRY_AT_ONCE)  # which know only what is retained
    await _cut_everywhere(stage, "one", ("a",), stage.count(1, 31))
    await _cut_everywhere(stage, "both", ("a", "b"), stage.count(10, 61))
    # The beginning of a trimmed stream is no entry, so no id can name it.
    await _cut_everywhere(stage, "trimmed", ("b", "c"), stage.count(1, 11))
    await stage.settle()
    stage.show_no_reset()


async def _cut_everywhere(stage: Stage, group: str, streams: tuple[str, ...], step: int) -> None:
    path = f"/v1/events?channel={','.join(streams)}&from=earliest"
    subscription = Subscription(streams, earliest=True)
    await stage.open(group, 1, path, subscription)
    size = (await stage.load.ask("received", group=group))["received"]
    offsets = list(range(1 + stage.random.randrange(step), size + 1, step))
    for start in range(0, len(offsets), _BATCH):
        cuts = offsets[start : start + _BATCH]
        name = f"{group} from {cuts[0]}"
        await stage.open(name, len(cuts), path, subscription, cuts=cuts)
        await stage.reach(name)
        await stage.load.ask("leave", group=name, complete=True)
    which = "each byte" if step == 1 else f"one of {step} bytes"
    stage.show(f"{group}: cut at {which}", f"{len(offsets)} of {size}", bool(offsets))


async def churn(stage: Stage) -> None:
    """Cut connections at random, with a mean life of 5 s; clients change between two nodes."""
    clients = stage.count(2000, 300)
    await stage.start_nodes(2)
    await stage.open_mix(clients)
    await stage.load.ask("churn", mean_life_s=5.0)
    await stage.producer(streams=("a", "b")).run(stage.size(50, 100), stage.size(300.0, 20.0))
    await stage.load.ask("churn", mean_life_s=0.0)
    await stage.load.ask("drop")
    await stage.settle()
    wanted, deliveries = stage.count(1_000_000, 100_000), stage.report.deliveries
    stage.show(
        f"at least {wanted:,} deliveries are checked",
        f"{deliveries:,} over {stage.report.connections:,} connections; "
        f"{stage.load_cpu_s / deliveries * 1e6:.1f} us of the load generator each",
        deliveries >= wanted,
    )
    stage.show_no_reset()


async def herd(stage: Stage) -> None:
    """Drop all clients at once, with the hub's own `retry:`; then a tenth of them, to compare."""
    (node,) = await stage.start_nodes(1, retry_min_ms=1000, retry_max_ms=5000)
    if not stage.quick:
        await stage.pin(node)  # or it would wait for a core that three browsers use as well
    await stage.open_mix(stage.count(2000, 500))
    stage.background(stage.producer(streams=("a", "b")).run(50))
    window_s = stage.size(15.0, 8.0)
    few = await _commands_while_dropping(stage, 0.1, window_s)
    async with stage.watched(stage.nodes[0].target) as tabs:
        late = await stage.nodes[0].times_late()
        dropped_s = time.monotonic()
        tabs.cut()
        many = await _commands_while_dropping(stage, 1.0, window_s)
        late = await stage.nodes[0].times_late() - late
    await stage.quiet()
    await stage.settle()
    lost = [o for o in outages(stage.recording) if o.start_s >= dropped_s]
    last_s = max(o.start_s + o.seconds for o in lost) - dropped_s
    count = len(stage.recording.chains)
    stage.show(f"{count} are dropped", f"{len(lost)}", len(lost) == count)
    came_back = last_s < float("inf")
    stage.show("all streaming again in 15 s", f"{last_s:.1f} s", last_s <= 15.0, busy=came_back)
    stage.show(
        f"Redis commands in {window_s:.0f} s: for all clients as for a tenth, within 10 %",
        f"{many} and {few}",
        many <= few * 1.1,
        busy=True,
    )
    stage.show_no_stall(late)
    stage.show_no_reset()


async def _commands_while_dropping(stage: Stage, share: float, seconds: float) -> int:
    before = await _commands(stage)
    await stage.load.ask("drop", share=share)
    await asyncio.sleep(seconds)
    return await _commands(stage) - before


async def _commands(stage: Stage) -> int:
    """All that Redis was asked, but for what the producer adds."""
    stats = await stage.client.info("commandstats")
    return sum(int(of["calls"]) for name, of in stats.items() if name != "cmdstat_xadd")
