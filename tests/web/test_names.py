"""`?names=off`: for code that has only `onmessage`."""

from __future__ import annotations

import pytest

from broadcaster import Publisher
from tests.nodes import Raw, events, running
from tests.wait import http_client, until

INVENTORY = "/v1/inventory/stream"


@pytest.mark.parametrize("sink", ["transport", "asgi"])
async def test_events_come_without_a_type_but_for_the_hubs_own(
    redis_url: str, publisher: Publisher, sink: str
) -> None:
    async with running(redis_url, sink=sink) as hub:
        await publisher.publish("inventory", type="stock-change", key="7", data="old")
        await until(lambda: len(hub.node.hub.windows["inventory"]) == 1)
        paths = [f"{INVENTORY}?from=earliest{more}" for more in ("", "&names=off", "&names=on")]
        streams = [await Raw.get(hub.port, path) for path in paths]
        for stream in streams:
            await stream.until(b"stream.live")
        await publisher.publish("inventory", type="price-change", key="7", data="new")
        for stream in streams:
            await stream.told(2)
        typed = ["stock-change", "stream.live", "price-change"]
        bare = ["message", "stream.live", "message"]
        assert [[e.event for e in events(s.body)] for s in streams] == [typed, bare, typed]
        assert [[e.id for e in events(s.body)] for s in streams[1:]] == [
            [e.id for e in events(streams[0].body)]
        ] * 2


async def test_a_terminal_event_keeps_its_type(redis_url: str, publisher: Publisher) -> None:
    async with running(redis_url) as hub:
        for type_ in ("recommendation", "complete"):
            await publisher.publish("orders", type=type_, key="7", data=type_)
        await until(lambda: len(hub.node.hub.windows["orders"]) == 2)
        for path in ("/v1/orders/7/status/stream", "/v1/events?channel=orders&key=7"):
            stream = await Raw.get(hub.port, f"{path}{'&' if '?' in path else '?'}names=off")
            await stream.rest()
            assert [event.event for event in events(stream.body)] == ["message", "complete"]


@pytest.mark.parametrize("value", ["no", "OFF", "0", "off,on", "names"])
async def test_another_value_is_a_problem(redis_url: str, value: str) -> None:
    async with running(redis_url) as hub, http_client(base_url=hub.url) as http:
        answer = await http.get(f"{INVENTORY}?names={value}")
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"names is on or off, not {value!r}"
