"""The settings of tokens come to readers and tickets; a node with them lets no stranger in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broadcaster import ConfigurationError, Settings
from broadcaster.app import make_node
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.access.policy import Action, Caller, Decision, Denied, Grant, NotYet
from broadcaster.core.access.revocations import Revocations
from broadcaster.errors import BackendUnavailableError
from broadcaster.web.tokens import setup
from tests.nodes import Raw, running
from tests.wait import http_client
from tests.web.tokens.issuers import ISSUER, SECRET, jwk, key_server, pair, pem, token

ORDERS = {"subscribe": ["orders:7", "orders:8"]}
SHOP = "https://shop.example"


def bearer(**claims: Any) -> str:
    return f"Authorization: Bearer {token(**claims)}\r\n"


def head(raw: Raw) -> int:
    return int(raw.head.split()[1])


@pytest.mark.parametrize(
    "given",
    [
        {"token_secrets": ["short"]},
        {"token_secrets": ["file:/nowhere"]},
        {"token_secrets": [pem(pair("RS256")).decode()]},
        {"token_keys": {"a": "/nowhere"}, "token_audience": "hub"},
        {"token_secrets": [SECRET], "ticket_secrets": ["short"]},
    ],
)
def test_a_key_that_can_not_be_used_is_an_error_at_the_start(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as info:
        make_node(Settings(**given), log=MemoryLog())
    assert "BEGIN" not in str(info.value)


def test_secrets_and_keys_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "id.pem").write_bytes(pem(pair("ES256")))
    settings = Settings(
        token_secrets=[f"file:{tmp_path}/secret"],
        token_issuer="shop",
        token_keys={ISSUER: f"{tmp_path}/id.pem"},
        token_audience="hub",
    )
    read = setup.make_reader(settings, None, Revocations())
    for text in (
        token(iss="shop", aud="hub"),
        token(pair("ES256"), "ES256", iss=ISSUER, aud=["hub"]),
    ):
        assert isinstance(read(Caller({"authorization": f"Bearer {text}"})), dict)
    for text in (
        token(aud="hub"),
        token(iss=ISSUER, aud="hub"),
        token(iss="shop"),
        token(pair("ES256"), "ES256", iss="shop", aud="hub"),
        token(pair("ES256"), "ES256", iss=ISSUER, aud="other"),
    ):
        assert isinstance(read(Caller({"authorization": f"Bearer {text}"})), Denied)


@pytest.mark.server
async def test_a_customer_sees_her_orders_and_no_others() -> None:
    log = MemoryLog()
    for key in ("7", "9", "8"):
        log.add("orders", key=key, data={"order": key})
    async with running("", log=log, token_secrets=[SECRET]) as hub:
        mine, path = (
            bearer(sub="ann", broadcaster=ORDERS),
            "/v1/events?channel=orders&from=earliest",
        )
        stream = await Raw.get(hub.port, path, mine)
        assert await stream.told(2) == ['{"order":"7"}', '{"order":"8"}']
        one = await Raw.get(hub.port, "/v1/orders/8/status/stream?from=earliest", mine)
        assert await one.told(1) == ['{"order":"8"}']
        for other in (path + "&key=9", path + "&key=7&key=9", "/v1/orders/9/status/stream"):
            assert head(await Raw.get(hub.port, other, mine)) == 403
        assert head(await Raw.get(hub.port, path)) == 401
        assert head(await Raw.get(hub.port, path, bearer(exp=5))) == 401
        assert head(await Raw.get(hub.port, "/v1/inventory/stream", mine)) == 403
        assert head(await Raw.get(hub.port, "/v1/inventory/stream?access_token=x")) == 401


@pytest.mark.server
async def test_a_ticket_opens_streams_of_its_origin() -> None:
    log = MemoryLog()
    log.add("orders", key="7", data="mine")
    given: dict[str, Any] = {
        "token_secrets": [SECRET],
        "ticket_secrets": [SECRET],
        "cors_origins": [SHOP],
    }
    async with (
        running("", log=log, **given) as hub,
        http_client(base_url=hub.url) as client,
    ):
        headers = {"origin": SHOP, "authorization": f"Bearer {token(broadcaster=ORDERS)}"}
        answer = await client.post("/v1/tickets?channel=orders&key=7", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert answer.json()["expires_in_s"] == 900
        path = f"/v1/events?channel=orders&from=earliest&ticket={answer.json()['ticket']}"
        for _ in range(3):  # it is good for reconnects
            stream = await Raw.get(hub.port, path, f"Origin: {SHOP}\r\n")
            assert await stream.told(1) == ["mine"]
        assert head(await Raw.get(hub.port, path)) == 401
        assert head(await Raw.get(hub.port, path, "Origin: https://evil.example\r\n")) == 401
        assert head(await Raw.get(hub.port, path + "&key=8", f"Origin: {SHOP}\r\n")) == 403
        assert (await client.post("/v1/tickets")).status_code == 401
        assert (await client.get("/v1/tickets")).status_code == 405
        wrong = await client.post("/v1/tickets?channel=inventory", headers=headers)
        assert wrong.status_code == 403
        asked = {"origin": SHOP, "access-control-request-method": "POST"}
        asked["access-control-request-headers"] = "authorization"
        assert (await client.options("/v1/tickets", headers=asked)).status_code == 200


def by_subject(caller: Caller, _: Action, channel: str, __: frozenset[str], /) -> Decision:
    """A policy that knows nothing of tickets. Ann may read everything, others the inventory."""
    if channel == "inventory":
        return Grant()
    subject = caller.claims.get("sub")
    return Grant(subject) if subject == "ann" else Denied("this is Ann's", 401)


@pytest.mark.server
async def test_a_policy_of_subjects_can_not_make_more_of_a_ticket_than_it_is_for() -> None:
    given: dict[str, Any] = {"token_secrets": [SECRET], "ticket_secrets": [SECRET]}
    log = MemoryLog()
    for key in ("8", "7"):
        log.add("orders", key=key, data=key)
    async with (
        running("", log=log, authorize=by_subject, **given) as hub,
        http_client(base_url=hub.url) as client,
    ):
        mine = bearer(sub="ann", broadcaster={"subscribe": ["orders", "recommendations:ann"]})
        headers = {"authorization": mine.partition(": ")[2].strip()}
        answer = await client.post("/v1/tickets?channel=orders&key=7", headers=headers)
        ticket = f"ticket={answer.json()['ticket']}"
        path = f"/v1/events?channel=orders&from=earliest&{ticket}"
        assert await (await Raw.get(hub.port, path)).told(1) == ["7"]
        assert head(await Raw.get(hub.port, path + "&key=8")) == 403
        assert head(await Raw.get(hub.port, f"/v1/orders/8/status/stream?{ticket}")) == 403
        others = "/v1/pets/recommendations/stream?userId=ann"
        assert head(await Raw.get(hub.port, others, mine)) == 200
        assert head(await Raw.get(hub.port, f"{others}&{ticket}")) == 403
        # What needs no token needs no ticket for it.
        assert head(await Raw.get(hub.port, f"/v1/inventory/stream?{ticket}")) == 200
        described = (await client.get(f"/v1/channels?{ticket}")).json()["channels"]
        assert [one["channel"] for one in described] == ["orders", "inventory"]


@pytest.mark.server
async def test_a_signed_claim_that_can_be_no_right_is_401_for_every_policy() -> None:
    async with running("", log=MemoryLog(), authorize=by_subject, token_secrets=[SECRET]) as hub:
        odd = bearer(sub="ann", broadcaster={"complete": True, "subscribe": "orders"})
        assert head(await Raw.get(hub.port, "/v1/orders/7/status/stream", odd)) == 401


@pytest.mark.server
async def test_a_hub_without_tokens_has_no_tickets() -> None:
    async with running("", log=MemoryLog()) as hub, http_client(base_url=hub.url) as client:
        assert (await client.post("/v1/tickets")).status_code == 404


async def test_all_nodes_of_a_redis_make_and_take_the_same_tickets(redis_url: str) -> None:
    given: dict[str, Any] = {"token_secrets": [SECRET]}
    async with (
        running(redis_url, **given) as one,
        running(redis_url, **given) as two,
        http_client(base_url=one.url) as client,
    ):
        headers = {"authorization": f"Bearer {token(broadcaster=ORDERS)}"}
        ticket = (await client.post("/v1/tickets", headers=headers)).json()["ticket"]
        for hub in (two, one):
            path = f"/v1/orders/7/status/stream?ticket={ticket}"
            assert head(await Raw.get(hub.port, path)) == 200
        assert head(await Raw.get(two.port, "/v1/inventory/stream?ticket=" + ticket)) == 403


@pytest.mark.server
async def test_keys_of_an_issuer_are_fetched_and_trouble_with_them_passes() -> None:
    async with key_server() as server:
        server.keys = [jwk("RS256", pair("RS256"), kid="a")]
        given: dict[str, Any] = {"token_keys": {ISSUER: server.url}, "token_audience": "hub"}
        server.status = 500
        async with running("", log=MemoryLog(), **given) as hub:
            text = token(pair("RS256"), "RS256", kid="a", iss=ISSUER, aud="hub", broadcaster=ORDERS)
            mine, path = f"Authorization: Bearer {text}\r\n", "/v1/orders/7/status/stream"
            later = await Raw.get(hub.port, path, mine)
            assert head(later) == 200
            assert b"retry:" in await later.rest()
            server.status = 200
            await _forget(hub.node.verifier)
            assert head(await Raw.get(hub.port, path, mine)) == 200
            server.status = 500
            assert head(await Raw.get(hub.port, path, mine)) == 200  # the known keys serve
            unknown = token(pair("RS256", 1), "RS256", kid="b", iss=ISSUER, aud="hub")
            other = await Raw.get(hub.port, path, f"Authorization: Bearer {unknown}\r\n")
            assert head(other) == 401
            assert server.asked == 2


async def _forget(verifier: Any) -> None:
    """Make the keys of an issuer due to be fetched again, as some seconds do."""
    for source in verifier.signatures._sources:
        if hasattr(source, "_begun_s"):
            source._begun_s = source._fetched_s = float("-inf")


async def test_a_secret_in_redis_is_fetched_when_it_is_needed(redis_url: str) -> None:
    async def broken() -> bytes:
        raise BackendUnavailableError("away")

    tickets = setup.make_tickets(Settings(), broken)
    assert tickets
    read = setup.make_reader(Settings(token_secrets=[SECRET]), tickets, Revocations())
    caller = Caller({"authorization": f"Bearer {token(broadcaster=ORDERS)}"})
    later = read.issue(caller, (), ())
    assert isinstance(later, NotYet)
    with pytest.raises(BackendUnavailableError):
        await later.load()
    assert setup.make_tickets(Settings(), None) is None
