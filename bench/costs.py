"""Workloads without clients: the cost of publishing, and of an event without subscribers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import redis

from bench.events import CHANNEL, TYPE, paced, stamped
from bench.measure import Row, summary
from bench.servers import Transport
from bench.workload import BYTES, Found, Scale, Step, Target
from broadcaster import EmbeddedRedis, Outgoing, SyncPublisher
from broadcaster.core.entry import encode

_MANY = 200_000
_SINGLE = 4000
_KEYS = 50_000
_SETTLE_S = 1.0


def publishing(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """One process that publishes to a local Redis."""
    events = round(_MANY * scale.clients)
    data = stamped(BYTES).decode()
    fields = encode(TYPE, "k1", data)
    rounds: list[Row] = []
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis())
        publisher = stack.enter_context(SyncPublisher(server.url))
        client = stack.enter_context(redis.Redis.from_url(server.url))

        def bare() -> None:
            client.xadd(CHANNEL, fields, maxlen=100_000, approximate=True)

        def ours() -> None:
            publisher.publish(CHANNEL, type=TYPE, key="k1", data=data)

        for number in range(1, scale.rounds + 1):
            step(f"round {number}: publish_many, publish, and a bare XADD")
            start_s = time.monotonic()
            publisher.publish_many(Outgoing(CHANNEL, TYPE, "k1", data) for _ in range(events))
            per_s = events / (time.monotonic() - start_s)
            bare_us, ours_us = _side_by_side(bare, ours)
            rounds.append(
                {
                    "publish_many_per_s": per_s,
                    "publish_us": ours_us,
                    "xadd_us": bare_us,
                    "publish_beside_xadd": ours_us / bare_us,
                }
            )
    found = summary(rounds)
    return Found(
        [{"server": "publisher", **found}],
        [
            Target("publish_many, events/s", 100_000, found["publish_many_per_s"], True),
            Target("publish ÷ a bare XADD of redis-py", 1.25, found["publish_beside_xadd"]),
        ],
    )


def _side_by_side(*calls: Callable[[], None]) -> list[float]:
    """Microseconds of a call of each, in turns of a hundred."""
    spent = [0.0] * len(calls)
    for _ in range(_SINGLE // 100):
        for number, call in enumerate(calls):
            start_s = time.perf_counter()
            for _ in range(100):
                call()
            spent[number] += time.perf_counter() - start_s
    return [seconds * 1e6 / _SINGLE for seconds in spent]


def unwanted(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """Events that no client wants, each with a key that was never seen before."""
    keys = round(_KEYS * scale.clients)
    channels = {CHANNEL: {"path": "/v1/inventory/stream", "window_events": 10_000}}
    rounds: list[Row] = []
    with ExitStack() as stack:
        server = stack.enter_context(Transport(channels=channels))
        sizes = []
        for number in range(3):  # the first fills the window, and what memory is kept
            step(f"{(number + 1) * keys:,} keys seen")
            cpu_s = server.process.cpu_s
            for due in paced(20_000, keys / 20_000):
                server.publisher.publish_many(
                    Outgoing(CHANNEL, TYPE, f"{number}.{time.monotonic_ns()}.{n}", stamped(BYTES))
                    for n in range(due)
                )
            time.sleep(_SETTLE_S)
            rounds.append({"cpu_us_per_event": (server.process.cpu_s - cpu_s) * 1e6 / keys})
            sizes.append(server.process.pss_bytes())
    found = summary(rounds)
    row = {"server": "transport", "keys": 3 * keys, **found, "pss_bytes": sizes}
    return Found(
        [row],
        [
            Target("CPU per event with no clients, in µs", 8, found["cpu_us_per_event"]),
            Target(f"memory after {3 * keys:,} keys ÷ after {keys:,}", 1.03, sizes[-1] / sizes[0]),
        ],
    )
