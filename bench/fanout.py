"""Workloads of many clients with the same events: what a delivery costs, and how late it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count

from bench.events import CHANNEL, stamped
from bench.measure import Load, Row, summary
from bench.servers import SERVERS, Transport
from bench.workload import BYTES, Bench, Found, Scale, Step, Target, figure, missed, ratio

_FLOOR_RATE = 100.0  # events/s, at which the floor sends each by itself
_FLOOD = {"nchan": 1500, "floor": 1500}
_FLOOD_EVENTS = 10_000
_HEARTBEAT_S = 4.0


def one_channel(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """5,000 clients of one channel, 10 events/s."""
    with ExitStack() as stack:
        bench = Bench(kinds, scale.of(5000), stack, step)
        rows = bench.rounds(scale, 10)
        bench.check_sinks()
    cpu = "CPU per delivery ÷ that of "
    return Found(
        rows,
        [
            Target(cpu + "the floor", 1.35, ratio(rows, "cpu_us", "transport", "floor")),
            Target(cpu + "nchan", 0.5, ratio(rows, "cpu_us", "transport", "nchan")),
            Target(cpu + "hand-made", 0.15, ratio(rows, "cpu_us", "transport", "handmade")),
            Target("clients of ours that missed an event", 0, missed(rows)),
        ],
    )


def fast(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """1,000 clients, 2,000 events/s; the floor sends 100 events/s, each by itself."""
    with ExitStack() as stack:
        bench = Bench(_only(kinds, "transport", "workers", "floor"), scale.of(1000), stack, step)
        rows = bench.rounds(scale, 2000, floor=_FLOOR_RATE)
    goal = scale.of(1000) * 2000
    return Found(
        rows,
        [
            Target("clients of ours that missed an event", 0, missed(rows)),
            Target(
                "deliveries/s", goal * 0.98, figure(rows, "transport", "deliveries_per_s"), True
            ),
            Target(
                "CPU per delivery ÷ that of the floor, one send per event", 0.3,
                ratio(rows, "cpu_us", "transport", "floor"),
            ),
            Target("p99 in ms", 20, figure(rows, "transport", "p99_ms")),
        ],
    )  # fmt: skip


def flood(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """1,000 clients, as fast as it goes."""
    rows: dict[str, list[Row]] = {}
    with ExitStack() as stack:
        servers = _only(kinds, "transport", "workers", "nchan")
        bench = Bench(servers, scale.of(1000), stack, step)
        for number in range(1, scale.rounds + 1):
            for kind, load in bench.loads.items():
                step(f"round {number}: all that {load.server.name} can")
                rows.setdefault(kind, []).append(_flood(load, _FLOOD.get(kind, _FLOOD_EVENTS)))
    found = [{"server": kind, "clients": scale.of(1000), **summary(rows[kind])} for kind in rows]
    most = ratio(found, "deliveries_per_s", "transport", "nchan")
    return Found(
        found,
        [
            Target("deliveries/s ÷ nchan's", 5, most, True),
            Target("clients of ours that missed an event", 0, missed(found)),
        ],
    )


def _flood(load: Load, events: int) -> Row:
    def send() -> None:
        for _ in range(0, events, 100):
            load.server.publish([stamped(BYTES) for _ in range(100)])

    return load.measured(send, events, 0.1)


def many_clients(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """15,000 clients of one process, 5 events/s; then quiet, until each has a heartbeat."""
    clients = scale.of(15_000)
    with ExitStack() as stack:
        bench = Bench((), clients, stack, step)
        ours = bench.add(Transport(heartbeat_s=_HEARTBEAT_S), clients, stack)
        for kind in _only(kinds, "nchan", "floor"):
            bench.add(SERVERS[kind](), clients, stack)
        rows = bench.rounds(scale, 5)
        ours.measure(5, 0.2, BYTES)
        step("waiting for heartbeats")
        heard = ours.listen(_HEARTBEAT_S * 1.5)
    rows[0] |= {"heartbeat_first_s": heard["first_s"], "heartbeat_last_s": heard["last_s"]}
    return Found(
        rows,
        [
            Target("p99 in ms", 150, figure(rows, "transport", "p99_ms")),
            Target("clients that missed an event", 0, missed(rows)),
            Target("clients without a heartbeat", 0, clients - heard["heard"]),
            Target("last heartbeat, in heartbeat_s", 1.2, heard["last_s"] / _HEARTBEAT_S),
        ],
    )


def growth(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """CPU per delivery beside the floor, with 100 to 15,000 clients."""
    rows, targets = [], []
    for clients, rate in ((100, 100), (1000, 50), (5000, 10), (15_000, 5)):
        with ExitStack() as stack:
            servers = _only(kinds, "transport", "nchan", "floor")
            found = Bench(servers, scale.of(clients), stack, step).rounds(scale, rate)
        rows += found
        beside = ratio(found, "cpu_us", "transport", "floor")
        targets.append(Target(f"CPU per delivery ÷ the floor's, {clients:,} clients", 1.4, beside))
    return Found(rows, targets)


def own_keys(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """10,000 clients each on a key of its own, 20,000 events/s over the keys."""
    clients, rate = scale.of(10_000), 20_000 * scale.clients
    with ExitStack() as stack:
        bench = Bench((), clients, stack, step)
        step(f"connecting {clients:,} clients, each on a key of its own")
        server = stack.enter_context(Transport())
        load = Load(server, clients, stack, server.path + "?petId=k{n}")
        load.open(clients)
        keys = ((CHANNEL, f"k{n % clients}") for n in count())
        rounds = []
        for number in range(1, scale.rounds + 1):
            step(f"round {number}: {rate:,g} events/s over the keys")
            each = max(1, round(rate * scale.seconds / clients))
            seconds = each * clients / rate
            rounds.append(
                load.measured(
                    lambda: server.publish_to(keys, rate, seconds, BYTES),  # noqa: B023 -- at once
                    each,
                    seconds,
                )
            )
        floor = bench.add(SERVERS["floor"](), clients, stack)
        floors = [floor.measure(5, scale.seconds, BYTES) for _ in range(scale.rounds)]
    rows: list[Row] = [
        {"server": "transport", "clients": clients, "rate": rate, **summary(rounds)},
        {"server": "floor", "clients": clients, "rate": 5, **summary(floors)},
    ]
    return Found(
        rows,
        [
            Target("p99 in ms", 50, figure(rows, "transport", "p99_ms")),
            Target("CPU per event with its delivery, in µs", 15, rows[0]["cpu_us"]),
            Target("clients that missed an event", 0, missed(rows)),
        ],
    )


def many_channels(kinds: Sequence[str], scale: Scale, step: Step) -> Found:
    """2,000 clients of three of 20 channels each, beside as many of one channel."""
    clients, names = scale.of(2000), [f"c{n}" for n in range(20)]
    channels = {name: {"path": f"/{name}"} for name in names}
    with ExitStack() as stack:
        step(f"connecting {clients:,} clients of three channels each")
        server = stack.enter_context(Transport(channels=channels))
        threes = [(n, (n + 7) % 20, (n + 13) % 20) for n in range(20)]
        paths = ("/v1/events?channel=c{}&channel=c{}&channel=c{}".format(*t) for t in threes)
        mixed = Load(server, clients, stack, *paths)
        mixed.open(clients)
        one = Bench(("transport", "floor"), clients, stack, step)
        each = round(10 * scale.seconds)
        where = [(name, "") for _ in range(each) for name in names]
        rounds, single = [], []
        for number in range(1, scale.rounds + 1):
            step(f"round {number}: 20 channels, 10 events/s each")
            rounds.append(
                mixed.measured(
                    lambda: server.publish_to(where, 200, scale.seconds, BYTES),
                    3 * each,
                    scale.seconds,
                )
            )
            step(f"round {number}: one channel, 30 events/s")
            single.append(one.loads["transport"].measure(30, scale.seconds, BYTES))
    rows: list[Row] = [
        {"server": "transport", "what": "3 of 20 channels", "clients": clients, "rate": 200}
        | summary(rounds),
        {"server": "transport", "what": "1 channel", "clients": clients, "rate": 30}
        | summary(single),
    ]
    return Found(
        rows,
        [
            Target("CPU per delivery ÷ that of one channel", 1.5,
                   rows[0]["cpu_us"] / rows[1]["cpu_us"]),
            Target("clients that missed an event", 0, missed(rows)),
        ],
    )  # fmt: skip


def _only(kinds: Sequence[str], *wanted: str) -> list[str]:
    return [kind for kind in wanted if kind in kinds]
