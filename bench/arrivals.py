"""Workloads of clients that connect, idle or reconnect, and of a node that starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from bench.events import CHANNEL, TYPE, stamped
from bench.measure import Load, Row, summary
from bench.servers import SERVERS, OverRedis, Transport
from bench.workload import BYTES, Found, Scale, Step, Target
from broadcaster import Outgoing
from broadcaster.core import sse
from broadcaster.core.event import Event, EventId

_WARM_CLIENTS = 50
_SETTLE_S = 0.5
_BEHIND = 100
_WINDOW = 100_000


def idle(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """Memory per idle client, of fresh servers."""
    rows: list[Row] = []
    plan = {"transport": (1000, 5000, 15_000), "asgi": (5000,), "nchan": (5000,)}
    plan |= {"handmade": (5000,)}
    for kind, counts in plan.items():
        if kind in kinds:
            rows += _idle(kind, [scale.of(n) for n in counts], step)
    ours = [row["bytes_per_client"] for row in rows if row["server"] == "transport"]
    return Found(
        rows,
        [
            Target("KB per client, at most, of 1,000 / 5,000 / 15,000", 12, max(ours) / 1024),
            Target("most ÷ least of the three", 1.15 / 0.85, max(ours) / min(ours)),
        ],
    )


def _idle(kind: str, counts: Sequence[int], step: Step) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        server = stack.enter_context(SERVERS[kind]())
        step(f"{server.name}: idle clients")
        warm = Load(server, _WARM_CLIENTS, stack)
        warm.open(_WARM_CLIENTS)  # loads what is loaded with the first client
        warm.close()
        time.sleep(_SETTLE_S)
        load, empty = Load(server, max(counts), stack), server.process.pss_bytes()
        for count in counts:
            step(f"{server.name}: {count:,} idle clients")
            load.open(count)
            time.sleep(_SETTLE_S)
            grown = server.process.pss_bytes() - empty
            rows.append(
                {
                    "server": kind,
                    "clients": count,
                    "empty_bytes": empty,
                    "bytes_per_client": grown / count,
                }
            )
    return rows


def herd(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """5,000 clients reconnect at once, each 100 events behind."""
    clients = scale.of(5000)
    with ExitStack() as stack:
        server = stack.enter_context(Transport())
        load = Load(server, clients, stack)
        load.open(clients)
        rounds = []
        for number in range(1, scale.rounds + 1):
            step(f"round {number}: {clients:,} clients come back")
            load.close()
            ids = server.publisher.publish_many(
                [Outgoing(CHANNEL, TYPE, data=stamped(BYTES)) for _ in range(_BEHIND + 1)]
            )
            time.sleep(_SETTLE_S)
            before, cpu_s = _commands(server), server.process.cpu_s
            seconds = load.open(clients, at_once=clients, cursor=str(ids[0]), events=_BEHIND)
            commands = _commands(server) - before - 1  # INFO itself
            rounds.append(
                {
                    "seconds": seconds,
                    "redis_commands": commands,
                    "cpu_us_per_client": (server.process.cpu_s - cpu_s) * 1e6 / clients,
                }
            )
    found = summary(rounds)
    return Found(
        [{"server": "transport", "clients": clients, **found}],
        [
            Target("seconds until all have caught up", 4, found["seconds"]),
            Target("Redis commands meanwhile, in all", 20, found["redis_commands"]),
        ],
    )


def _commands(server: OverRedis) -> int:
    info: Any = server.client.info("stats")
    count: int = info["total_commands_processed"]
    return count


def connections(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """New connections: 4,000 clients come, 1,000 at a time, and each waits to be live."""
    clients, rows = scale.of(4000), []
    with ExitStack() as stack:
        for kind in ("transport", "nchan", "handmade"):
            if kind not in kinds:
                continue
            server = stack.enter_context(SERVERS[kind]())
            load = Load(server, clients, stack)
            rounds = []
            for _ in range(scale.rounds + 1):
                step(f"{server.name}: {clients:,} new connections")
                cpu_s = server.process.cpu_s
                seconds = load.open(clients, at_once=1000)
                rounds.append(
                    {
                        "connections_per_s": clients / seconds,
                        "cpu_us_per_connection": (server.process.cpu_s - cpu_s) * 1e6 / clients,
                    }
                )
                load.close()
                time.sleep(_SETTLE_S)
            rows.append({"server": kind, "clients": clients, **summary(rounds[1:])})
    rate = next((r["connections_per_s"] for r in rows if r["server"] == "transport"), None)
    return Found(rows, [Target("connections/s, accepted and live", 4000, rate, True)])


def start_up(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """A node starts over three streams of 100,000 events each."""
    streams, events = ("orders", "inventory", "recommendations"), round(_WINDOW * scale.clients)
    rounds: list[Row] = []
    with ExitStack() as stack:
        first = stack.enter_context(Transport())
        time.sleep(_SETTLE_S)
        empty = first.process.pss_bytes()
        step(f"publishing 3 times {events:,} events")
        for stream in streams:
            first.publisher.publish_many(
                Outgoing(stream, TYPE, f"k{n % 1000}", stamped(BYTES)) for n in range(events)
            )
        frame = sse.encode(Event(EventId(1795382971000, 0), TYPE, "k1", stamped(BYTES))).wire
        for number in range(1, scale.rounds + 1):
            step(f"round {number}: a node starts")
            rounds.append(_start_up(first.redis_url, empty, 3 * events, len(frame)))
    found = summary(rounds)
    return Found(
        [{"server": "transport", "events": 3 * events, **found}],
        [
            Target("seconds to ready", 3, found["seconds"]),
            Target("bytes per windowed event, beside its frame's", 600, found["bytes_beside"]),
        ],
    )


def _start_up(redis_url: str, empty: int, events: int, frame_bytes: int) -> Row:
    start_s = time.monotonic()
    with Transport(redis_url) as server:
        while not _is_ready(server.port):
            time.sleep(0.01)
        seconds = time.monotonic() - start_s
        time.sleep(_SETTLE_S)
        each = (server.process.pss_bytes() - empty) / events
    return {"seconds": seconds, "bytes_per_event": each, "bytes_beside": each - frame_bytes}


def _is_ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in sock.recv(100)
    except OSError:
        return False
