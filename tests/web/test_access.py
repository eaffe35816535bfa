"""Policies at every door, over real sockets, and no Redis: the streams are in memory."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.access import Action, Caller, Decision, Denied, Grant, Policy
from broadcaster.web import access
from tests.nodes import Raw, events, running
from tests.wait import http_client

ORIGIN = "https://shop.example"


class Asked:
    """A policy that remembers what it was asked, and denies what a test names."""

    def __init__(self, *denied: tuple[Action, str], status: int = 403) -> None:
        self.calls: list[tuple[Caller, Action, str, frozenset[str]]] = []
        self._denied = denied
        self._status = status

    def __call__(
        self, caller: Caller, action: Action, channel: str, keys: frozenset[str], /
    ) -> Decision:
        self.calls.append((caller, action, channel, keys))
        if (action, channel) in self._denied:
            return Denied(f"{channel} is not yours", self._status)
        return Grant("ann")


async def ann_alone(caller: Caller, _: Action, __: str, keys: frozenset[str], /) -> Decision:
    """Ann may read her order. As one that asks a database, it is awaited."""
    if caller.cookies.get("session") != "ann":
        return Denied("log in first", 401)
    return Grant("ann") if keys == {"7"} else Denied("not your order")


def broken(*_: Any) -> Decision:
    raise KeyError("a secret of the policy")


def careless(*_: Any) -> Any:
    """It returns what is true, and no decision."""
    return True


async def test_without_redis_an_event_stream_is_served_from_memory() -> None:
    log = MemoryLog()
    first = log.add("inventory", type="stock-change", key="7", data={"left": 3})
    async with running("", log=log) as hub:
        stream = await Raw.get(hub.port, "/v1/inventory/stream?from=earliest")
        await stream.until(b"stream.live")
        log.add("inventory", type="stock-change", key="7", data={"left": 2})
        assert await stream.told(2) == ['{"left":3}', '{"left":2}']
        back = await Raw.get(hub.port, "/v1/inventory/stream", f"Last-Event-ID: {first}\r\n")
        assert await back.told(1) == ['{"left":2}']


async def test_a_policy_is_asked_once_for_each_channel_with_what_is_wanted() -> None:
    policy = Asked()
    async with running("", log=MemoryLog(), authorize=policy) as hub:
        path = "/v1/events?channel=orders,inventory,orders&key=7&key=8&ticket=t"
        await (await Raw.get(hub.port, path, "Cookie: a=1\r\nCookie: b=2\r\n")).until(b"live")
        asked = [(action, channel, keys) for _, action, channel, keys in policy.calls]
        both = frozenset({"7", "8"})
        assert asked == [(Action.SUBSCRIBE, "orders", both), (Action.SUBSCRIBE, "inventory", both)]
        caller = policy.calls[0][0]
        assert caller.query["ticket"] == ("t",)
        assert caller.cookies == {"a": "1", "b": "2"}
        assert caller.headers["host"] == "localhost"
        assert caller.address.startswith("127.0.0.1:")


async def test_a_channel_made_on_demand_is_a_request_and_a_return_to_its_run_is_none() -> None:
    policy, path = Asked(), "/v1/pets/recommendations/stream?userId=7"
    async with running("", log=MemoryLog(), authorize=policy) as hub:
        stream = await Raw.get(hub.port, path)
        await stream.until(b"live")
        cursor = next(e.id for e in events(stream.body) if e.event == "stream.live")
        await (await Raw.get(hub.port, path, f"Last-Event-ID: {cursor}\r\n")).until(b"live")
    assert [action for _, action, _, _ in policy.calls] == [Action.REQUEST, Action.SUBSCRIBE]


async def test_a_made_up_run_is_no_way_to_a_request() -> None:
    policy, path = Asked((Action.REQUEST, "recommendations")), "/v1/pets/recommendations/stream"
    log = MemoryLog()
    async with running("", log=log, authorize=policy) as hub:
        cursor = "Last-Event-ID: recommendations=0-0,run=5-5\r\n"
        made_up = await Raw.get(hub.port, f"{path}?userId=7", cursor)
        assert made_up.head.startswith(b"HTTP/1.1 403")
    assert [action for _, action, _, _ in policy.calls] == [Action.SUBSCRIBE, Action.REQUEST]
    assert (await log.retained("recommendations.requests")).length == 0


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_refusal_is_a_problem_that_the_page_can_read(method: str, status: int) -> None:
    policy = Asked((Action.SUBSCRIBE, "orders"), status=status)
    async with (
        running("", log=MemoryLog(), authorize=policy, cors_origins=[ORIGIN]) as hub,
        http_client(base_url=hub.url) as client,
    ):
        path = "/v1/events?channel=inventory&channel=orders"
        answer = await client.request(method, path, headers={"origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["content-type"] == "application/problem+json"
        assert ("www-authenticate" in answer.headers) == (status == 401)
        if method == "GET":
            assert answer.json()["detail"] == "orders is not yours"
        assert not hub.node.hub.subscribers


async def test_a_policy_may_be_awaited() -> None:
    async with running("", log=MemoryLog(), authorize=ann_alone) as hub:
        mine, cookie = "/v1/orders/7/status/stream", "Cookie: session=ann\r\n"
        assert (await Raw.get(hub.port, mine)).head.startswith(b"HTTP/1.1 401")
        assert (await Raw.get(hub.port, mine, cookie)).head.startswith(b"HTTP/1.1 200")
        other = await Raw.get(hub.port, "/v1/orders/8/status/stream", cookie)
        assert other.head.startswith(b"HTTP/1.1 403")


async def test_what_may_not_be_described_is_in_no_list() -> None:
    policy = Asked((Action.DESCRIBE, "orders"))
    async with (
        running("", log=MemoryLog(), authorize=policy, cors_origins=[ORIGIN]) as hub,
        http_client(base_url=hub.url) as client,
    ):
        listed = (await client.get("/v1/channels")).json()["channels"]
        assert [one["channel"] for one in listed] == ["inventory", "recommendations"]
        refused = await client.get("/v1/channels/orders", headers={"origin": ORIGIN})
        assert refused.status_code == 403
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        assert (await client.get("/v1/channels/inventory")).status_code == 200
        for path in ("/v1/channels/nothing", "/v1/events?channel=nothing"):
            assert "orders" not in (await client.get(path)).text


@pytest.mark.parametrize("policy", [broken, careless])
@pytest.mark.parametrize("path", ["/v1/inventory/stream", "/v1/channels", "/v1/channels/orders"])
async def test_a_mistake_of_the_policy_lets_no_caller_in(
    policy: Policy, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running("", log=MemoryLog(), authorize=policy, cors_origins=[ORIGIN]) as hub,
        http_client(base_url=hub.url) as client,
    ):
        answer = await client.get(path, headers={"origin": ORIGIN})
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.json()["title"] == "Internal Server Error"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "the policy failed" in caplog.text
    if policy is broken:
        assert "a secret of the policy" in caplog.text


async def test_without_a_policy_no_caller_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> Caller:
        raise AssertionError("a caller was made for the policy that grants everything")

    monkeypatch.setattr(access, "caller_of", refuse)
    async with running("", log=MemoryLog()) as hub, http_client(base_url=hub.url) as client:
        await (await Raw.get(hub.port, "/v1/inventory/stream")).until(b"live")
        assert (await client.get("/v1/channels")).status_code == 200
