"""Policies at every door, over real sockets, and no Redis: the streams are in memory."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.access.by_access import ByAccess
from broadcaster.core.access.policy import Action, Caller, Decision, Denied, Grant, NotYet, Policy
from broadcaster.core.catalogue import DEMO, PET_STORE
from broadcaster.core.event import EventId
from broadcaster.core.run import key_of
from broadcaster.core.shards import shard_of
from broadcaster.web.access import asking, callers
from tests.nodes import Raw, events, running
from tests.wait import http_client

pytestmark = pytest.mark.server

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


def numbering(*_: Any) -> Any:
    """Its grant has a number for a subject."""
    return Grant(subject=17)  # type: ignore[arg-type]


async def no_stream(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """The answer to a page that asks, which is no event stream: that one would not end."""
    async with client.stream(method, path, headers={"origin": ORIGIN}) as answer:
        assert answer.status_code != 200
        await answer.aread()
    return answer


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
        answer = await no_stream(client, method, path)
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


@pytest.mark.parametrize(
    ("grant", "status"), [(Grant("ann", frozenset()), 403), (Grant("ann", expires_s=5.0), 401)]
)
async def test_a_grant_that_opens_no_stream_describes_no_channel(grant: Grant, status: int) -> None:
    async with (
        running("", log=MemoryLog(), authorize=lambda *_: grant) as hub,
        http_client(base_url=hub.url) as client,
    ):
        assert (await client.get("/v1/channels/inventory")).status_code == status
        assert (await client.get("/v1/channels")).json() == {"channels": []}


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


@pytest.mark.parametrize("policy", [broken, careless, numbering])
@pytest.mark.parametrize("path", ["/v1/inventory/stream", "/v1/channels", "/v1/channels/orders"])
async def test_a_mistake_of_the_policy_lets_no_caller_in(
    policy: Policy, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running("", log=MemoryLog(), authorize=policy, cors_origins=[ORIGIN]) as hub,
        http_client(base_url=hub.url) as client,
    ):
        answer = await no_stream(client, "GET", path)
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

    monkeypatch.setattr(callers, "caller_of", refuse)
    async with running("", log=MemoryLog()) as hub, http_client(base_url=hub.url) as client:
        await (await Raw.get(hub.port, "/v1/inventory/stream")).until(b"live")
        assert (await client.get("/v1/channels")).status_code == 200


class Granting:
    """A policy that grants each channel the keys that a test names, and to one subject."""

    def __init__(self, **keys: set[str] | None) -> None:
        self._keys = {name: None if of is None else frozenset(of) for name, of in keys.items()}

    def __call__(
        self, caller: Caller, _: Action, channel: str, __: frozenset[str], /
    ) -> Grant | Denied:
        if channel not in self._keys:
            return Denied(f"{channel} is not yours")
        return Grant("ann", keys=self._keys[channel])


def published(log: MemoryLog) -> None:
    """Add one event for each of two keys, and one without a key, to each channel."""
    for channel in ("orders", "inventory"):
        for key in ("7", "8", ""):
            log.add(channel, type="t", key=key, data=f"{channel}:{key}")


@pytest.mark.parametrize("sink", ["transport", "asgi"])
@pytest.mark.parametrize(
    ("granted", "query", "told"),
    [
        ({"orders": {"7"}}, "channel=orders", ["orders:7"]),
        ({"orders": {"7", "8"}}, "channel=orders&key=8", ["orders:8"]),
        ({"orders": {"*"}}, "channel=orders&key=8", ["orders:8"]),
        ({"orders": {"*"}}, "channel=orders", ["orders:7", "orders:8", "orders:"]),
        (
            {"orders": {"7"}, "inventory": {"8"}},
            "channel=orders&channel=inventory",
            ["orders:7", "inventory:8"],
        ),
        (
            {"orders": {"7"}, "inventory": None},
            "channel=orders&channel=inventory",
            ["orders:7", "inventory:7", "inventory:8", "inventory:"],
        ),
    ],
)
async def test_a_client_gets_the_keys_of_each_grant_from_the_past_and_live(
    granted: dict[str, set[str] | None], query: str, told: list[str], sink: str
) -> None:
    log = MemoryLog()
    published(log)
    policy = Granting(**granted)
    async with running("", log=log, authorize=policy, sink=sink) as hub:
        stream = await Raw.get(hub.port, f"/v1/events?{query}&from=earliest")
        await stream.until(b"stream.live")
        published(log)
        got = await stream.told(2 * len(told))
        assert sorted(got) == sorted(told * 2)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/orders/8/status/stream",
        "/v1/events?channel=orders&key=8",
        "/v1/events?channel=orders&key=7&key=8",
        "/v1/events?channel=orders&key=*",
        "/v1/events?channel=inventory&channel=orders&key=8",
        "/v1/orders/7%2F/status/stream",
        "/v1/orders/7%00/status/stream",
        "/v1/orders/%EF%BC%97/status/stream",
    ],
)
async def test_keys_beyond_the_grant_are_refused(path: str) -> None:
    policy = Granting(orders={"7"}, inventory={"*"})
    async with running("", log=MemoryLog(), authorize=policy) as hub:
        assert (await Raw.get(hub.port, path)).head.startswith(b"HTTP/1.1 403")


async def test_the_key_of_the_grant_is_the_key_of_the_request() -> None:
    policy, path = Granting(recommendations={"ann"}), "/v1/pets/recommendations/stream"
    log = MemoryLog()
    async with running("", log=log, authorize=policy) as hub:
        stream = await Raw.get(hub.port, path)
        await stream.until(b"live")
        cursor = next(e.id for e in events(stream.body) if e.event == "stream.live")
        back = await Raw.get(hub.port, path, f"Last-Event-ID: {cursor}\r\n")
        await back.until(b"live")
        other = await Raw.get(hub.port, f"{path}?userId=bob", f"Last-Event-ID: {cursor}\r\n")
        assert other.head.startswith(b"HTTP/1.1 403")
    assert (await log.retained("recommendations.requests")).length == 1


ORDER_OF = {"ann": "7", "bob": "8"}


async def test_a_cursor_of_another_subject_shows_nothing_of_it() -> None:
    """A cursor is no secret. What is replayed is decided by the grant of its bearer."""

    def policy(caller: Caller, _: Action, channel: str, __: frozenset[str], /) -> Decision:
        user = caller.cookies["user"]
        return Grant(user, frozenset({user if channel != "orders" else ORDER_OF[user]}))

    log = MemoryLog()
    first, *_ = [log.add("orders", type="t", key=key, data=key) for key in ("7", "8", "7", "8")]
    bob = "Cookie: user=bob\r\n"
    async with running("", log=log, authorize=policy) as hub:
        path = "/v1/pets/recommendations/stream"
        of_ann = await Raw.get(hub.port, path, "Cookie: user=ann\r\n")
        await of_ann.until(b"live")
        cursor = next(e.id for e in events(of_ann.body) if e.event == "stream.live")
        of_bob = await Raw.get(hub.port, path, f"{bob}Last-Event-ID: {cursor}\r\n")
        await of_bob.until(b"live")
        own = next(e.id for e in events(of_bob.body) if e.event == "stream.live")
        for user, id_ in (("ann", cursor), ("bob", own)):
            run = EventId.parse(id_.rpartition("run=")[2])
            log.add("recommendations", type="t", key=key_of(user, run), data=f"for {user}")
        assert await of_ann.told(1) == ["for ann"]
        assert await of_bob.told(1) == ["for bob"]
        for door in ("/v1/events?channel=orders", "/v1/orders/8/status/stream"):
            stream = await Raw.get(hub.port, door, f"{bob}Last-Event-ID: {first}\r\n")
            await stream.until(b"live")
            assert await stream.told(2) == ["8", "8"]


@pytest.mark.parametrize("keys", [{"ann", "bob"}, {"*"}, None])
async def test_what_is_made_on_demand_is_made_for_one_key(keys: set[str] | None) -> None:
    policy, path = Granting(recommendations=keys), "/v1/pets/recommendations/stream"
    async with running("", log=MemoryLog(), authorize=policy) as hub:
        assert (await Raw.get(hub.port, path)).head.startswith(b"HTTP/1.1 400")
        (one,) = list(keys or {"ann"})[:1]
        await (await Raw.get(hub.port, f"{path}?userId={one}")).until(b"live")


async def test_a_lost_run_of_a_granted_key_begins_anew() -> None:
    policy, path = Granting(recommendations={"ann"}), "/v1/pets/recommendations/stream"
    log = MemoryLog()
    async with running("", log=log, authorize=policy) as hub:
        stream = await Raw.get(hub.port, path, "Last-Event-ID: recommendations=0-0,run=5-5\r\n")
        await stream.until(b"stream.live")
        assert b'"reason":"gone"' in stream.body
    assert (await log.retained("recommendations.requests")).length == 1


async def test_granted_keys_choose_the_shards_and_a_client_resumes_there() -> None:
    channels = {"s": {"path": "/s", "shards": 4}}
    log, policy = MemoryLog(), Granting(s={"a", "d"})
    for key in ("a", "b", "d"):
        log.add(f"s.{shard_of(key, 4)}", type="t", key=key, data=key)
    async with running("", log=log, authorize=policy, channels=channels) as hub:
        stream = await Raw.get(hub.port, "/s?from=earliest")
        await stream.until(b"stream.live")
        assert sorted(await stream.told(2)) == ["a", "d"]
        at = next(e.id for e in events(stream.body) if e.event == "stream.live")
        assert at.count("=") == 2
        log.add(f"s.{shard_of('d', 4)}", type="t", key="d", data="more")
        back = await Raw.get(hub.port, "/s", f"Last-Event-ID: {at}\r\n")
        assert await back.told(1) == ["more"]
        assert b"stream.reset" not in back.body


async def test_two_subjects_in_one_request_are_a_mistake_of_the_policy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def two(_: Caller, __: Action, channel: str, ___: frozenset[str], /) -> Grant:
        return Grant(f"owner of {channel}")

    async with running("", log=MemoryLog(), authorize=two) as hub:
        both = await Raw.get(hub.port, "/v1/events?channel=orders&channel=inventory&key=7")
        assert both.head.startswith(b"HTTP/1.1 500")
        assert "different subjects" in caplog.text
        await (await Raw.get(hub.port, "/v1/orders/7/status/stream")).until(b"live")


class Loading:
    """A policy, or a verifier, that first loads something."""

    def __init__(self, then: Any, *, fails: bool = False) -> None:
        self._then = then
        self._fails = fails
        self.loads = 0

    async def _load(self) -> None:
        self.loads += 1
        if self._fails:
            raise OSError("the url of the keys is down")

    def __call__(self, *_: Any) -> Any:
        ready = self.loads and self._then and not self._fails
        return self._then if ready else NotYet(self._load)


async def test_what_a_policy_needs_is_loaded_and_then_it_is_asked_again() -> None:
    policy = Loading(Grant("ann", frozenset("7")))
    async with running("", log=MemoryLog(), authorize=policy) as hub:
        await (await Raw.get(hub.port, "/v1/orders/7/status/stream")).until(b"live")
    assert policy.loads == 1


@pytest.mark.parametrize("policy", [Loading(Grant(), fails=True), Loading(None)])
async def test_trouble_of_a_policy_that_passes_is_no_refusal(policy: Loading) -> None:
    async with (
        running("", log=MemoryLog(), authorize=policy) as hub,
        http_client(base_url=hub.url) as client,
    ):
        answer = await Raw.get(hub.port, "/v1/orders/7/status/stream", "Last-Event-ID: 5-1\r\n")
        assert answer.head.startswith(b"HTTP/1.1 200")
        body = await answer.rest()
        assert b"can't be checked" in body
        assert b"id: 5-1\nevent: stream.at" in body
        assert b"retry: " in body
        assert hub.node.meters.shed["access"] == 1
        listed = await client.get("/v1/channels")
        assert (listed.status_code, listed.headers["retry-after"]) == (503, "10")


async def test_trouble_of_a_policy_is_no_line_of_the_log_for_each_request(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_complaints", asking._Complaints())
    policy = Loading(Grant(), fails=True)
    async with running("", log=MemoryLog(), authorize=policy) as hub:
        caplog.set_level("DEBUG", asking.logger.name)
        for _ in range(3):
            await (await Raw.get(hub.port, "/v1/orders/7/status/stream")).rest()
        own = [line for line in caplog.records if line.name == asking.logger.name]
        assert [line.levelname for line in own] == ["WARNING", "DEBUG", "DEBUG"]
        assert "the url of the keys is down" in own[0].getMessage()
        monkeypatch.setattr(asking, "_COMPLAIN_S", 0.0)
        monkeypatch.setattr(asking, "_complaints", asking._Complaints())
        for _ in range(2):
            await (await Raw.get(hub.port, "/v1/orders/7/status/stream")).rest()
        own = [line for line in caplog.records if line.name == asking.logger.name]
        assert [line.levelname for line in own[3:]] == ["WARNING", "WARNING"]


@pytest.mark.parametrize(
    "path", ["/v1/orders/7/status/stream", "/v1/channels", "/v1/channels/orders"]
)
async def test_a_token_that_is_not_valid_is_refused_at_every_door(path: str) -> None:
    def verifier(caller: Caller, /) -> Denied:
        return Denied("the token's signature is wrong", 401)

    policy = Granting(orders={"7"})
    async with (
        running("", log=MemoryLog(), authorize=policy, verifier=verifier) as hub,
        http_client(base_url=hub.url) as client,
    ):
        answer = await client.get(path)
        assert answer.status_code == 401
        assert answer.json()["detail"] == "the token's signature is wrong"


async def test_a_policy_is_told_what_a_token_says() -> None:
    def policy(caller: Caller, _: Action, __: str, ___: frozenset[str], /) -> Grant | Denied:
        found = caller.claims.get("orders")
        return Grant(caller.claims["sub"], frozenset(found)) if found else Denied("log in", 401)

    def verifier(caller: Caller, /) -> dict[str, Any]:
        token = caller.headers.get("authorization")
        return {"sub": "ann", "orders": ["7"]} if token == "Bearer good" else {}

    async with running("", log=MemoryLog(), authorize=policy, verifier=verifier) as hub:
        path, token = "/v1/orders/7/status/stream", "Authorization: Bearer good\r\n"
        await (await Raw.get(hub.port, path, token)).until(b"live")
        assert (await Raw.get(hub.port, path)).head.startswith(b"HTTP/1.1 401")


async def test_a_grant_that_has_ended_opens_nothing() -> None:
    def policy(*_: Any) -> Grant:
        return Grant("ann", expires_s=time.time() - 1)

    async with running("", log=MemoryLog(), authorize=policy) as hub:
        answer = await Raw.get(hub.port, "/v1/orders/7/status/stream")
        assert answer.head.startswith(b"HTTP/1.1 401")


CHANNELS = {
    "news": {"path": "/news", "access": "public"},
    "orders": {"path": "/orders/{key}"},
    "hidden": {"path": "/hidden", "access": "public", "listed": False},
}


class Tokens:
    """A verifier and a policy of tokens, as far as these tests need them."""

    @staticmethod
    def verifier(caller: Caller, /) -> dict[str, Any] | Denied:
        token = caller.headers.get("authorization", "")
        if token == "Bearer expired":
            return Denied("the token has expired", 401)
        return {"sub": "ann"} if token == "Bearer ann" else {}

    @staticmethod
    def policy(caller: Caller, _: Action, __: str, ___: frozenset[str], /) -> Decision:
        return Grant("ann", frozenset("7")) if caller.claims else Denied("this needs a token", 401)


async def status(port: int, path: str, headers: str = "") -> int:
    return int((await Raw.get(port, path, headers)).head.split(b" ")[1])


async def test_public_channels_beside_others_need_no_token_and_the_others_do() -> None:
    policy = ByAccess(["news", "hidden"], Tokens.policy)
    made: Any = {"channels": CHANNELS, "verifier": Tokens.verifier}
    async with running("", log=MemoryLog(), authorize=policy, **made) as hub:
        ann, old = "Authorization: Bearer ann\r\n", "Authorization: Bearer expired\r\n"
        for path in ("/news", "/v1/events?channel=news"):
            for token in ("", ann, old):
                assert await status(hub.port, path, token) == 200
        for path in ("/orders/7", "/v1/events?channel=orders", "/v1/events?channel=news,orders"):
            assert await status(hub.port, path) == 401
            assert await status(hub.port, path, old) == 401
            assert await status(hub.port, path, ann) == 200
        assert await status(hub.port, "/orders/8", ann) == 403
        news = [s for s in hub.node.hub.subscribers if s.subscription.streams == ("news",)]
        assert [s.holder for s in news] == [None] * len(news)


async def test_what_is_public_is_described_whatever_a_token_is() -> None:
    policy = ByAccess(["news"], Tokens.policy)
    made: Any = {"channels": CHANNELS, "verifier": Tokens.verifier}
    async with running("", log=MemoryLog(), authorize=policy, **made) as hub:
        for token in ("", "Authorization: Bearer expired\r\n"):
            assert await status(hub.port, "/v1/channels/news", token) == 200
            assert await status(hub.port, "/v1/channels/orders", token) == 401
        assert await status(hub.port, "/v1/channels") == 200
        # The list has channels that need a token, too, so the caller learns that it is not valid.
        assert await status(hub.port, "/v1/channels", token) == 401


async def test_a_public_channel_beside_others_costs_no_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Any) -> Caller:
        raise AssertionError("a caller was made for a public channel")

    policy = ByAccess(["news"], Tokens.policy)
    monkeypatch.setattr(callers, "caller_of", refuse)
    async with running("", log=MemoryLog(), authorize=policy, channels=CHANNELS) as hub:
        await (await Raw.get(hub.port, "/news")).until(b"live")


async def test_a_channel_that_is_not_listed_is_at_its_own_path_only() -> None:
    async with (
        running("", log=MemoryLog(), channels=CHANNELS) as hub,
        http_client(base_url=hub.url) as client,
    ):
        assert await status(hub.port, "/hidden") == 200
        for path in ("/v1/events?channel=hidden", "/v1/channels/hidden"):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert answer.json()["detail"] == "no channel 'hidden'; there are: news, orders"
        listed = (await client.get("/v1/channels")).json()["channels"]
        assert [one["channel"] for one in listed] == ["news", "orders"]


async def test_a_channel_with_a_key_in_its_path_needs_a_key_at_every_door() -> None:
    log = MemoryLog()
    async with running("", log=log, channels=PET_STORE) as hub:
        for query in ("channel=orders", "channel=orders&from=earliest", "channel=inventory,orders"):
            assert await status(hub.port, f"/v1/events?{query}") == 400
        assert await status(hub.port, "/v1/events?channel=orders&key=7") == 200
    async with running("", log=log, channels=DEMO) as hub:
        assert await status(hub.port, "/v1/events?channel=orders") == 200
    granted = Granting(orders={"*"})
    async with running("", log=log, channels=PET_STORE, authorize=granted) as hub:
        assert await status(hub.port, "/v1/events?channel=orders") == 200
    unsaid = Granting(orders=None)  # the policy has not looked at keys
    async with running("", log=log, channels=PET_STORE, authorize=unsaid) as hub:
        assert await status(hub.port, "/v1/events?channel=orders") == 400
