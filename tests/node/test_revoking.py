"""Revoked tokens: their streams end on every node, and they open no other one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, EmbeddedRedis, Settings
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.access.grants import Holder
from broadcaster.core.access.policy import Action, Caller, Grant
from broadcaster.core.wire import Ending
from broadcaster.node.revoking import Revoking
from tests.nodes import Raw, running
from tests.wait import allowed_s, http_client, until
from tests.web.tokens.issuers import SECRET, token

KEY = "broadcaster.revocations"
PATH = "/v1/orders/7/status/stream"
ORDERS = {"subscribe": ["orders"]}
GIVEN: dict[str, Any] = {"token_secrets": [SECRET]}


def bearer(**claims: Any) -> str:
    old_s = int(time.time()) - 10
    text = token(**{"broadcaster": ORDERS, "sub": "ann", "iat": old_s, **claims})
    return f"Authorization: Bearer {text}\r\n"


def status(raw: Raw) -> int:
    return int(raw.head.split()[1])


@pytest.mark.parametrize("sink", ["transport", "asgi"])
async def test_a_revocation_ends_the_streams_of_every_node_within_a_second(
    redis_url: str, sink: str
) -> None:
    async with (
        running(redis_url, sink=sink, two_ports=True, **GIVEN) as one,
        running(redis_url, sink=sink, **GIVEN) as two,
        http_client(base_url=one.operators_url) as operator,
    ):
        mine = [await Raw.get(hub.port, PATH, bearer(jti="t1")) for hub in (one, two)]
        his = [await Raw.get(hub.port, PATH, bearer(sub="bob")) for hub in (one, two)]
        for stream in (*mine, *his):
            await stream.until(b"stream.live")
        began_s = time.monotonic()
        answer = await operator.post("/v1/revocations", params={"name": "ann"})
        assert answer.status_code == 200
        assert answer.json()["replicas"] == 0
        for stream in mine:
            body = await stream.rest()
            assert b"event: stream.expired\n" in body.rpartition(b"retry: ")[2]
        assert time.monotonic() - began_s < allowed_s(1.5)  # half a second waits for replicas
        for hub in (one, two):
            assert hub.node.meters.closed[Ending.REVOKED] == 1
            assert len(hub.node.hub.subscribers) == 1
            assert status(await Raw.get(hub.port, PATH, bearer(jti="t1"))) == 401
            later = bearer(iat=int(time.time()) + 2)
            assert status(await Raw.get(hub.port, PATH, later)) == 200
            assert status(await Raw.get(hub.port, PATH, bearer(iat=None))) == 401


async def test_a_token_is_revoked_by_its_id_and_with_it_its_tickets(redis_url: str) -> None:
    async with (
        running(redis_url, **GIVEN) as hub,
        http_client(base_url=hub.url) as client,
    ):
        one, other = bearer(jti="t1"), bearer(jti="t2")
        headers = {"authorization": one.split(": ")[1].strip()}
        ticket = (await client.post("/v1/tickets", headers=headers)).json()["ticket"]
        streams = [
            await Raw.get(hub.port, f"{PATH}?ticket={ticket}"),
            await Raw.get(hub.port, PATH, other),
        ]
        for stream in streams:
            await stream.until(b"stream.live")
        await hub.node.revoking.revoke("t1")
        await streams[0].rest()
        assert status(await Raw.get(hub.port, f"{PATH}?ticket={ticket}")) == 401
        assert (await client.post("/v1/tickets", headers=headers)).status_code == 401
        assert status(await Raw.get(hub.port, PATH, other)) == 200
        assert not streams[1].ended


async def test_a_node_that_starts_later_knows_what_was_revoked(redis_url: str) -> None:
    async with running(redis_url, **GIVEN) as hub:
        await hub.node.revoking.revoke("ann")
    async with running(redis_url, **GIVEN) as hub:
        assert status(await Raw.get(hub.port, PATH, bearer())) == 401
        assert status(await Raw.get(hub.port, PATH, bearer(sub="bob"))) == 200


@pytest.mark.server
async def test_a_stream_is_not_registered_after_its_revocation() -> None:
    """The revocation comes between the policy's answer and the step that registers it."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: Caller, __: Action, ___: str, ____: frozenset[str], /) -> Grant:
        reached.set()
        await go_on.wait()
        return Grant("ann", frozenset({"7"}))

    async with running("", log=MemoryLog(), authorize=slow, **GIVEN) as hub:
        opening = asyncio.create_task(Raw.get(hub.port, PATH, bearer(sub="ann")))
        await reached.wait()
        hub.node.revoking.known.add("ann", int(time.time() * 1000) + 1000)
        go_on.set()
        assert status(await opening) == 401
        assert not hub.node.hub.subscribers


@pytest.mark.server
async def test_a_token_is_revoked_by_its_own_subject_where_a_policy_names_another_one() -> None:
    def customer(caller: Caller, _: Action, __: str, ___: frozenset[str], /) -> Grant:
        return Grant(f"customer of {caller.claims['sub']}", frozenset({"7"}))

    async with running("", log=MemoryLog(), authorize=customer, **GIVEN) as hub:
        streams = [await Raw.get(hub.port, PATH, bearer(sub=sub)) for sub in ("ann", "bob", "eve")]
        for stream in streams:
            await stream.until(b"stream.live")
        now_ms = int(time.time() * 1000)
        await hub.node.revoking._note([("ann", now_ms), ("customer of bob", now_ms)])
        for stream in streams[:2]:
            await stream.rest()
        assert len(hub.node.hub.subscribers) == 1


@pytest.mark.server
async def test_a_policy_without_tokens_decides_about_what_is_opened_later() -> None:
    """A session that began after the revocation is good again. Only the policy knows when."""

    def ann(_: Caller, __: Action, ___: str, ____: frozenset[str], /) -> Grant:
        return Grant("ann", frozenset({"7"}))

    async with running("", log=MemoryLog(), authorize=ann) as hub:
        stream = await Raw.get(hub.port, PATH)
        await stream.until(b"stream.live")
        at_ms = int(time.time() * 1000) + 1
        await hub.node.revoking._note([("ann", at_ms)])
        await stream.rest()
        await until(lambda: time.time() * 1000 > at_ms)
        assert status(await Raw.get(hub.port, PATH)) == 200


async def test_a_node_that_has_not_read_revocations_is_not_ready(
    redis_url: str, client: Any
) -> None:
    await client.set(KEY, "no stream")
    async with (
        running(redis_url, ready=False, **GIVEN) as hub,
        http_client(base_url=hub.url) as http,
    ):
        await until(lambda: "WRONGTYPE" in hub.node.revoking.problem)
        await until(lambda: all(event.is_set() for event in hub.node.pump.loaded.values()))
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["the revocations are not read"]
        assert "WRONGTYPE" in "".join(hub.node.problems())
        shed = await Raw.get(hub.port, PATH, bearer())
        assert status(shed) == 200
        assert b"stream.live" not in await shed.rest()
        await client.delete(KEY)
        await until(lambda: not hub.node.problems())
        assert (await http.get("/readyz")).status_code == 200


@pytest.mark.server
async def test_while_redis_is_away_the_last_known_revocations_count() -> None:
    with EmbeddedRedis() as server:
        async with running(server.url, **GIVEN) as hub:
            await hub.node.revoking.revoke("ann")
            await until(lambda: len(hub.node.revoking.known) == 1)
            server.stop()
            await until(lambda: bool(hub.node.revoking.problem))
            assert status(await Raw.get(hub.port, PATH, bearer())) == 401
            assert status(await Raw.get(hub.port, PATH, bearer(sub="bob"))) == 200
            assert hub.node.health.reasons() == []
            with pytest.raises(BackendUnavailableError):
                await hub.node.revoking.revoke("bob")


async def test_the_route_is_for_operators_alone(redis_url: str) -> None:
    async with (
        running(redis_url, two_ports=True, **GIVEN) as hub,
        http_client(base_url=hub.url) as client,
        http_client(base_url=hub.operators_url) as operator,
    ):
        path = "/v1/revocations?name=ann"
        assert (await client.post(path)).status_code == 404
        for header in ({"origin": "https://a.example"}, {"sec-fetch-site": "cross-site"}):
            assert (await operator.post(path, headers=header)).status_code == 403
        assert (await operator.post("/v1/revocations")).status_code == 400
        assert (await operator.get(path)).status_code == 405
    async with running(redis_url, **GIVEN) as hub, http_client(base_url=hub.url) as client:
        assert (await client.post(path)).status_code == 404


async def test_a_revocation_is_forgotten_only_after_the_leeway() -> None:
    none = Revoking(Settings(max_token_s=10, leeway_s=10), [], lambda *_: None)
    now_s = time.time()
    old = [(name, int((now_s - ago_s) * 1000)) for name, ago_s in (("ann", 25), ("bob", 35))]
    await none._note([*old, ("eve", int(now_s * 1000))])
    assert none.concerns(Holder("ann", None, "", now_s - 26))
    assert not none.concerns(Holder("bob", None, "", now_s - 36))


async def test_a_hub_without_redis_has_no_revocations() -> None:
    none = Revoking(Settings(), [], lambda *_: None)
    none.start()
    await none.follow()
    assert none.read.is_set()
    assert none.problem == ""
    assert not none.concerns(None)
    assert not none.concerns(Holder("ann"))
    with pytest.raises(ConfigurationError):
        await none.revoke("ann")
    await none.aclose()
