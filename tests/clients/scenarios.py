"""What happens to a client, and how what its handler got differs from the stream itself."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos.processes import Node
from tests.clients.roster import Client
from tests.clients.stage import (
    CHANNELS,
    KEY,
    ORDER,
    SETTINGS,
    STOCK,
    WINDOW,
    Driver,
    Seen,
    staged,
)
from tests.nodes import QUICK, Raw
from tests.wait import PATIENCE_S, until

PASSES = "passes"
HALF_BYTES = 200_000
LARGE_BYTES = 1_000_000

Scenario = Callable[[Client, str, Path], Awaitable[str]]
"""Takes a client, the url of an empty Valkey, and a directory for logs. Returns `PASSES`, or else
how the client differs."""


async def resume(client: Client, redis_url: str, logs: Path) -> str:
    """A node is killed while the client follows it, and another one goes on."""
    async with staged(client, "recipe", redis_url) as stage:
        channels = {name: _table(name) for name in CHANNELS}
        settings = QUICK | SETTINGS | {"redis_url": redis_url, "channels": json.dumps(channels)}
        victim = Node(logs / "victim.log", settings)
        await victim.start()
        stage.switch.target = victim.port
        await stage.publish("stock", 5)
        driver = await stage.follow(f"{STOCK}?from=earliest")
        await _reached(driver, 5)
        await stage.publish("stock", 1)
        await _reached(driver, 6)
        await victim.kill()
        await victim.client.aclose()
        await stage.publish("stock", 3)
        stage.switch.target = stage.nodes[1].port
        await _reached(driver, 9)
        await stage.publish("stock", 1)
        await _reached(driver, 10)
        return _compared(driver, await stage.stream("stock"))


async def quiet(client: Client, redis_url: str, _: Path) -> str:
    """A client of one key gets no event for long, and its old position is trimmed meanwhile."""
    async with staged(client, "recipe", redis_url) as stage:
        driver = await stage.follow(f"{STOCK}?key={KEY}")
        await until(lambda: stage.switch.passed(b"stream.live"))
        await stage.publish("stock", 1)
        await _reached(driver, 1)
        last = (await stage.publish("stock", 2 * WINDOW, key="8"))[-1]
        await until(lambda: stage.switch.passed(f"id: {last.id}\n".encode()))
        # A position that the handler is not shown may be one that the client has taken note of.
        await _soon(lambda: any(event.id == last.id for event in driver.seen))
        whole = await stage.stream("stock")
        await stage.redis.xtrim("stock", maxlen=WINDOW, approximate=False)
        stage.switch.target = stage.nodes[1].port
        stage.switch.cut()
        whole += await stage.publish("stock", 1)
        await _reached(driver, 2)
        if stage.switch.cursors[1:2] != [last.id]:
            return "comes back with an old position"
        return _compared(driver, whole)


async def finished(client: Client, redis_url: str, _: Path) -> str:
    """An order is finished. Asking for it again has no end."""
    async with staged(client, "recipe", redis_url) as stage:
        await stage.publish("orders", 3)
        driver = await stage.follow(ORDER)
        await _reached(driver, 3)
        await stage.publisher.publish("orders", type="complete", key=KEY, data='"shipped"')
        await _reached(driver, 4)
        await _soon(lambda: driver.stopped or len(stage.switch.requests) > 3)
        if not driver.stopped:
            return "goes on asking"
        return _compared(driver, await stage.stream("orders"))


async def shed_and_drain(client: Client, redis_url: str, _: Path) -> str:
    """The first node is full and sheds the client. The second one takes it, and drains."""
    async with staged(client, "recipe", redis_url, first={"max_connections": 1}) as stage:
        full, second = stage.nodes
        occupant = await Raw.get(full.port, STOCK)
        await stage.publish("stock", 2)
        driver = await stage.follow(f"{STOCK}?from=earliest")
        await _soon(lambda: driver.stopped or len(stage.switch.requests) > 1)
        if driver.stopped:
            return "stops when it is shed"
        stage.switch.target = second.port
        await _reached(driver, 2)
        stage.switch.target = full.port
        stage.switch.cut()  # now it is shed while it has a position
        asked = len(stage.switch.requests)
        await _soon(lambda: driver.stopped or len(stage.switch.requests) > asked + 1)
        await stage.publish("stock", 2)
        stage.switch.target = second.port
        await _reached(driver, 4)
        occupant.close()
        stage.switch.target = full.port
        await second.node.drain()
        await stage.publish("stock", 2)
        await _reached(driver, 6)
        return _compared(driver, await stage.stream("stock"))


async def reset(client: Client, redis_url: str, _: Path) -> str:
    """The client's position is trimmed while it is away."""
    async with staged(client, "recipe", redis_url) as stage:
        await stage.publish("stock", 2)
        driver = await stage.follow(f"{STOCK}?from=earliest")
        await _reached(driver, 2)
        stage.switch.target = 0  # no connection is made
        stage.switch.cut()
        await stage.publish("stock", 3 * WINDOW)
        await stage.redis.xtrim("stock", maxlen=WINDOW, approximate=False)
        before = list(driver.events)
        stage.switch.target = stage.nodes[1].port
        await _reached(driver, 2 + WINDOW)
        told = [json.loads(event.data)["reason"] for event in driver.own("stream.reset")]
        if told != ["trimmed"]:
            return f"is told of resets {told}"
        driver.seen = [event for event in driver.seen if event.type != "stream.reset"]
        return _compared(driver, before + await stage.stream("stock"))


async def several_channels(client: Client, redis_url: str, _: Path) -> str:
    """One connection carries two channels, whose ids name both."""
    async with staged(client, "recipe", redis_url) as stage:
        driver = await stage.follow("/v1/events?channel=stock&channel=prices&from=earliest")
        for round_ in range(3):
            await stage.publish("stock", 2)
            await stage.publish("prices", 1)
            await _reached(driver, 3 * round_ + 3)
            stage.switch.target = stage.nodes[round_ % 2].port
            stage.switch.cut()
        await stage.publish("prices", 2)
        await _reached(driver, 11)
        got = {name: [e.data for e in driver.events if name in e.data] for name in CHANNELS}
        for name in ("stock", "prices"):
            if got[name] != [event.data for event in await stage.stream(name)]:
                return f"differs in {name}: {got[name]}"
        return _compared(driver, driver.events)


async def cut_inside(client: Client, redis_url: str, _: Path) -> str:
    """The connection is cut in the middle of an event."""
    async with staged(client, "recipe", redis_url) as stage:
        await stage.publish("stock", 1)
        driver = await stage.follow(f"{STOCK}?from=earliest")
        await _reached(driver, 1)
        stage.switch.limit = HALF_BYTES // 2
        data = json.dumps("x" * HALF_BYTES)
        await stage.publisher.publish("stock", type="stock-change", key=KEY, data=data)
        await until(lambda: driver.stopped or len(stage.switch.requests) > 1)
        stage.switch.limit = None
        await _reached(driver, 2)
        found = _compared(driver, await stage.stream("stock"))
        return "takes half an event for an event" if _half(driver) else found


async def large(client: Client, redis_url: str, _: Path) -> str:
    """An event has a megabyte."""
    async with staged(client, "recipe", redis_url) as stage:
        data = json.dumps("x" * LARGE_BYTES)
        await stage.publisher.publish("stock", type="stock-change", key=KEY, data=data)
        driver = await stage.follow(f"{STOCK}?from=earliest")
        await _reached(driver, 1)
        return _compared(driver, await stage.stream("stock"))


SCENARIOS: dict[str, Scenario] = {
    "resume on another node after a kill": resume,
    "position of a quiet filtered client": quiet,
    "finished order": finished,
    "shed and drain": shed_and_drain,
    "reset": reset,
    "several channels": several_channels,
    "cut inside an event": cut_inside,
    "an event of 1 MB": large,
}
"""All scenarios, by their names in the documents."""


def _table(name: str) -> dict[str, object]:
    """A channel as a configuration has it."""
    channel = CHANNELS[name]
    return {
        "path": channel.path,
        "start": channel.start,
        "terminal": sorted(channel.terminal),
        "window_events": channel.window_events,
    }


async def _reached(driver: Driver, count: int) -> None:
    """Wait until the client's handler has got so many events, or has stopped too early."""
    await _soon(lambda: driver.stopped or len(driver.events) >= count, PATIENCE_S)


async def _soon(condition: Callable[[], object], timeout_s: float = PATIENCE_S / 5) -> None:
    """Wait for what a client need not do: the comparison says that it has not."""
    try:
        await until(condition, timeout_s)
    except TimeoutError:
        return


def _half(driver: Driver) -> bool:
    return any(event.data[:1] == '"' and event.data[-1:] != '"' for event in driver.events)


def _compared(driver: Driver, wanted: list[Seen]) -> str:
    got = driver.events
    if got == wanted and not driver.own("stream.reset"):
        return PASSES
    lost = [event for event in wanted if event not in got]
    kinds = [
        f"loses {len(lost)} of {len(wanted)} events" if lost else "",
        f"gets {len(got)} events instead of {len(wanted)}" if len(got) > len(wanted) else "",
        "is reset" if driver.own("stream.reset") else "",
        "stops" if lost and driver.stopped else "",
    ]
    return ", ".join(filter(None, kinds)) or f"differs: {_brief(got)} instead of {_brief(wanted)}"


def _brief(events: list[Seen]) -> list[tuple[str, str, str]]:
    return [(event.id, event.type, event.data[:20]) for event in events]
