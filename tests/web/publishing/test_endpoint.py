"""Publishing over HTTP, with a real server and a real Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest

from broadcaster.core.entry import decode
from broadcaster.core.event import EventId
from broadcaster.errors import BackendUnavailableError, PartialPublishError
from broadcaster.web.publishing.endpoint import MOST_EVENTS, MOST_REQUESTS
from tests.nodes import Raw, Running, running
from tests.wait import http_client
from tests.web.tokens.issuers import SECRET, token

CHANNELS: dict[str, Any] = {"pets": {"path": "/pets"}, "public": {"path": "/p", "access": "public"}}
PETS = "/v1/channels/pets/events"
JSON = {"content-type": "application/json"}


def bearing(*rights: str, **claims: Any) -> dict[str, str]:
    """The headers of a client that may publish this."""
    text = token(sub="shop", broadcaster={"publish": rights, "subscribe": ["pets"]}, **claims)
    return {"authorization": f"Bearer {text}", **JSON}


class Hub(NamedTuple):
    """A hub that can be published through."""

    running: Running
    http: httpx.AsyncClient
    redis: Any

    async def post(self, body: object, headers: dict[str, str], path: str = PETS) -> httpx.Response:
        """Publish a text or bytes as they are, and anything else as JSON."""
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return await self.http.post(path, content=content, headers=headers)

    async def stored(self, stream: str = "pets") -> list[tuple[str, str, str, str]]:
        """The id, type, key and data of each event in a stream."""
        found = []
        for id_, fields in await self.redis.xrange(stream):
            flat = [part for pair in fields.items() for part in pair]
            event = decode(EventId.of_entry(id_), flat, 1 << 30)
            found.append((id_.decode(), event.type, event.key, event.data.decode()))
        return found


@pytest.fixture(params=["transport", "asgi"])
async def hub(request: pytest.FixtureRequest, redis_url: str, client: Any) -> AsyncIterator[Hub]:
    settings: dict[str, Any] = {"channels": CHANNELS, "token_secrets": [SECRET]}
    async with (
        running(redis_url, sink=request.param, token_cookie="session", **settings) as node,
        http_client(base_url=node.url) as http,
    ):
        yield Hub(node, http, client)


async def test_an_event_reaches_its_readers_and_the_answer_has_its_id(hub: Hub) -> None:
    headers = bearing("pets")
    reader = await Raw.get(
        hub.running.port, "/pets", f"Authorization: {headers['authorization']}\r\n"
    )
    await reader.until(b"stream.live")
    answer = await hub.post('{"type":"born","key":"7","data":{"kg": 1.10, "n": 1e400}}', headers)
    assert answer.status_code == 200
    (id_,) = answer.json()["ids"]
    await reader.until(f'id: {id_}\nevent: born\ndata: {{"kg": 1.10, "n": 1e400}}\n\n'.encode())
    assert await hub.stored() == [(id_, "born", "7", '{"kg": 1.10, "n": 1e400}')]


async def test_an_array_is_published_in_order(hub: Hub) -> None:
    body = [{"data": n, "key": "7"} for n in range(MOST_EVENTS)]
    answer = await hub.post(body, bearing("pets:7"))
    stored = await hub.stored()
    assert answer.json()["ids"] == [id_ for id_, *_ in stored]
    assert [data for *_, data in stored] == [str(n) for n in range(MOST_EVENTS)]
    assert (await hub.post([], bearing("pets"))).json() == {"ids": []}


async def test_cloud_events_are_published(hub: Hub) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "7"}
    headers = bearing("pets")
    single = headers | {"content-type": "application/cloudevents+json; charset=utf-8"}
    assert (await hub.post({**event, "data": {"n": 1}}, single)).status_code == 200
    batch = headers | {"content-type": "application/cloudevents-batch+json"}
    assert (await hub.post([{**event, "id": "2"}, {**event, "id": "3"}], batch)).status_code == 200
    assert [event[1:] for event in await hub.stored()] == [
        ("t", "7", '{"n": 1}'),
        ("t", "7", "null"),
        ("t", "7", "null"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("", 400, "not JSON"),
        ('{"data":1', 400, "not JSON"),
        ('[{"data":1},{"data":01}]', 400, "not JSON"),
        ('{"data":NaN}', 422, "NaN is no value of JSON"),
        ('[{"data":1},{"data":1,"typ":"x"}]', 422, "event 2: expected an object like"),
        ('[{"data":1},{"data":1,"type":"stream.live"}]', 422, "not beginning with 'stream.'"),
        ('{"data":1,"type":"a\\nb"}', 422, "no control characters"),
        ('{"data":"\\ud800"}', 422, "must be UTF-8"),
        (b'{"data":"\xff"}', 422, "not UTF-8"),
        ('{"data":' + "[" * 100_000, 422, "nested too deep"),
        (json.dumps([{"data": 1}] * (MOST_EVENTS + 1)), 413, f"at most {MOST_EVENTS} events"),
        (json.dumps({"data": "x" * (1 << 20) * 3}), 413, "more than 2097152 bytes"),
        (json.dumps({"data": "x" * 1_600_000}), 413, "which is more than 1572864"),
        (json.dumps({"data": "x" * 1_572_860, "type": "t" * 9}), 413, "which is more than 1572864"),
    ],
)
async def test_a_body_that_is_not_all_events_publishes_nothing(
    hub: Hub, body: str | bytes, status: int, said: str
) -> None:
    answer = await hub.post(body, bearing("pets"))
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert said in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert await hub.stored() == []


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-type": ""}, JSON | {"content-encoding": "gzip"}],
)
async def test_another_media_type_is_refused(hub: Hub, headers: dict[str, str]) -> None:
    answer = await hub.post({"data": 1}, bearing("pets") | headers)
    assert answer.status_code == 415
    assert "application/json" in answer.headers["accept"]


async def test_only_a_bearer_token_with_the_right_publishes(hub: Hub) -> None:
    one, mine = {"data": 1, "key": "7"}, bearing("pets:7")
    text = mine["authorization"].removeprefix("Bearer ")
    cookie = {"cookie": f"session={text}", "sec-fetch-site": "same-origin", **JSON}
    assert (await hub.post(one, mine)).status_code == 200
    assert (await hub.post(one, JSON)).status_code == 401
    assert (await hub.post(one, cookie)).status_code == 401
    assert (await hub.post(one, JSON, f"{PETS}?access_token={text}")).status_code == 401
    assert (await hub.post(one, {"authorization": "Bearer x", **JSON})).status_code == 401
    assert (await hub.post(one, bearing("pets:7", exp=1))).status_code == 401
    assert (await hub.post(one, bearing("public", "pets:8"))).status_code == 403
    assert (await hub.post(one, bearing())).status_code == 403
    assert (await hub.post({"data": 1}, mine)).status_code == 403
    assert (await hub.post([one, one | {"key": "8"}], mine)).status_code == 403
    assert len(await hub.stored()) == 1
    public = "/v1/channels/public/events"
    assert (await hub.post(one, JSON, public)).status_code == 401
    assert (await hub.post(one, mine, public)).status_code == 403
    assert (await hub.post(one, bearing("public"), public)).status_code == 200


async def test_a_revoked_token_publishes_nothing(hub: Hub) -> None:
    hub.running.node.revoking.known.add("shop", int(time.time() * 1000) + 60_000)
    answer = await hub.post({"data": 1}, bearing("pets"))
    assert (answer.status_code, answer.json()["detail"]) == (401, "the token was revoked")


async def test_an_unknown_channel_is_404_and_another_method_405(hub: Hub) -> None:
    unknown = await hub.post({"data": 1}, bearing("nope"), "/v1/channels/nope/events")
    assert unknown.status_code == 404
    assert "pets" not in unknown.text
    assert (await hub.http.delete(PETS)).status_code == 405


async def test_the_name_of_a_channel_may_be_encoded(hub: Hub) -> None:
    headers = bearing("pets")
    paths = (PETS, "/v1/channels/%70ets/events")
    assert [(await hub.post({"data": 1}, headers, path)).status_code for path in paths] == [200] * 2


async def test_a_policy_that_fails_publishes_nothing(redis_url: str, client: Any) -> None:
    def policy(*_: Any) -> Any:
        raise RuntimeError("a secret")

    async with (
        running(redis_url, authorize=policy, channels=CHANNELS) as node,
        http_client(base_url=node.url) as http,
    ):
        answer = await http.post(PETS, json={"data": 1})
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert answer.headers["content-type"] == "application/problem+json"
    assert await client.xlen("pets") == 0


async def test_a_hub_without_tokens_publishes_nothing(redis_url: str) -> None:
    async with running(redis_url) as node, http_client(base_url=node.url) as http:
        path = "/v1/channels/inventory/events"
        answer = await http.post(path, json={"data": 1})
    assert (answer.status_code, "neither tokens nor policy" in answer.text) == (403, True)


async def test_a_node_that_shuts_down_sends_publishers_elsewhere(hub: Hub) -> None:
    hub.running.node.draining = True
    answer = await hub.post({"data": 1}, bearing("pets"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_while_redis_refuses_the_answer_is_503(hub: Hub) -> None:
    await hub.redis.config_set("maxmemory", 1)
    try:
        one = await hub.post({"data": 1}, bearing("pets"))
        many = await hub.post([{"data": 1}, {"data": 2}], bearing("pets"))
    finally:
        await hub.redis.config_set("maxmemory", 0)
    for answer in (one, many):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert await hub.stored() == []
    await hub.redis.set("pets", "no stream")
    answer = await hub.post({"data": 1}, bearing("pets"))
    assert (answer.status_code, "until an operator" in answer.text) == (503, True)


async def test_what_is_stored_of_an_array_is_said(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def partly(publications: Any, subject: str) -> Any:
        away = BackendUnavailableError("gone")
        raise PartialPublishError([EventId(1, 0), None], away) from away

    monkeypatch.setattr(hub.running.node.publishing, "publish", partly)
    answer = await hub.post([{"data": 1}, {"data": 2}], bearing("pets"))
    assert answer.status_code == 503
    assert "Of 2 events 1 are certainly published" in answer.json()["detail"]


async def test_a_large_body_comes_whole_however_it_is_sent(hub: Hub) -> None:
    body = json.dumps({"data": "x" * 1_000_000}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for content in (body, pieces()):
        answer = await hub.http.post(PETS, content=content, headers=bearing("pets"))
        assert answer.status_code == 200
    assert [len(data) for *_, data in await hub.stored()] == [1_000_000] * 2


def with_key(key: str, *rights: str) -> dict[str, str]:
    """The headers of a client that may publish this, and names the request."""
    return bearing(*rights or ("pets",)) | {"idempotency-key": key}


async def test_a_request_with_a_key_is_published_once_through_any_node(
    hub: Hub, redis_url: str
) -> None:
    settings: dict[str, Any] = {"channels": CHANNELS, "token_secrets": [SECRET]}
    body = [{"data": 1.10, "key": "7"}, {"data": 2}]
    async with running(redis_url, **settings) as other, http_client(base_url=other.url) as http:
        answers = [await hub.post(body, with_key("k"))]
        answers += [await http.post(PETS, json=body, headers=with_key("k")) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["ids"] == [id_ for id_, *_ in await hub.stored()]
    # The same events in other words are the same.
    spaced = await hub.post(
        '[ {"key":"7","data":1.1} , {"type":"message","data":2} ]', with_key("k")
    )
    assert spaced.text == answers[0].text


async def test_a_request_that_comes_to_two_nodes_at_once_is_published_once(
    redis_url: str, client: Any
) -> None:
    channels = {"pets": {"path": "/pets", "shards": 3}}
    settings: dict[str, Any] = {"channels": channels, "token_secrets": [SECRET]}
    body = [{"data": n, "key": f"{n}"} for n in range(9)]
    async with (
        running(redis_url, **settings) as one,
        running(redis_url, **settings) as other,
        http_client() as http,
    ):
        for number in range(5):
            headers = with_key(f"k{number}")
            posts = [
                http.post(node.url + PETS, json=body, headers=headers) for node in (one, other) * 5
            ]
            answers = await asyncio.gather(*posts)
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.text for answer in answers}) == 1
    assert sum([await client.xlen(f"pets.{shard}") for shard in range(3)]) == 5 * len(body)


async def test_a_key_that_was_used_for_another_body_is_422(hub: Hub) -> None:
    assert (await hub.post({"data": 1}, with_key("k"))).status_code == 200
    other = await hub.post({"data": 2}, with_key("k"))
    assert (other.status_code, "used for another event" in other.text) == (422, True)
    assert (await hub.post([], with_key("k"))).json() == {"ids": []}
    assert len(await hub.stored()) == 1


@pytest.mark.parametrize("keys", [[""], ["k" * 257], ["k", "l"], ["k", "k"]])
@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
async def test_a_key_that_can_not_be_meant_publishes_nothing(
    hub: Hub, keys: list[str], media_type: str
) -> None:
    headers = [*(bearing("pets") | {"content-type": media_type}).items()]
    headers += [("idempotency-key", key) for key in keys]
    answer = await hub.http.post(PETS, content='{"data":1}', headers=headers)
    assert (answer.status_code, "one Idempotency-Key" in answer.text) == (400, True)
    assert await hub.stored() == []


async def test_the_keys_of_a_subject_are_its_own(hub: Hub) -> None:
    bob = token(sub="bob", broadcaster={"publish": ["pets"]})
    headers = with_key("k")
    ids = [
        (await hub.post({"data": 1}, {**headers, "authorization": f"Bearer {text}"})).json()["ids"]
        for text in (headers["authorization"].removeprefix("Bearer "), bob)
    ]
    assert ids[0] != ids[1]


async def test_a_subject_is_any_text(hub: Hub) -> None:
    bob = token(sub="\ud800", broadcaster={"publish": ["pets"]})
    headers = with_key("k") | {"authorization": f"Bearer {bob}"}
    answers = [await hub.post({"data": 1}, headers) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].text == answers[1].text


async def test_an_event_with_an_id_is_published_once(hub: Hub) -> None:
    body = [{"data": 1, "id": "a"}, {"data": 2}, {"data": 3}, {"data": 4, "id": "b"}]
    first = (await hub.post(body, bearing("pets"))).json()["ids"]
    again = (await hub.post(body, bearing("pets"))).json()["ids"]
    assert [a == b for a, b in zip(first, again, strict=True)] == [True, False, False, True]
    assert [data for *_, data in await hub.stored()] == ["1", "2", "3", "4", "2", "3"]
    other = await hub.post({"data": 5, "id": "a"}, bearing("pets"))
    assert other.status_code == 422
    # JSON can name half of a surrogate pair.
    half = [(await hub.post('{"data":6,"id":"\\ud800"}', bearing("pets"))).text for _ in range(2)]
    assert half[0] == half[1]
    cloud = {"specversion": "1.0", "id": "a", "source": "/s", "type": "t"}
    headers = bearing("pets") | {"content-type": "application/cloudevents+json"}
    twice = [(await hub.post(cloud, headers)).json() for _ in range(2)]
    assert twice[0] == twice[1]
    assert len(await hub.stored()) == 8


async def test_limits_hold_for_requests_that_publish(hub: Hub) -> None:
    node = hub.running.node
    places = node.limits.places["subject"]
    places.most, body = 1, {"data": 1}
    assert (await hub.post(body, bearing("pets"))).status_code == 200
    assert (places.taken, node.publishes) == (0, 0)
    places.take("shop")
    full = await hub.post(body, bearing("pets"))
    places.free("shop")
    node.publishes = MOST_REQUESTS
    busy = await hub.post(body, bearing("pets"))
    node.publishes = 0
    for answer in (full, busy):
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert len(await hub.stored()) == 1


async def test_a_page_of_a_configured_origin_may_publish(redis_url: str) -> None:
    page = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    asks = "authorization,content-type,idempotency-key"
    settings: dict[str, Any] = {"channels": CHANNELS, "token_secrets": [SECRET]}
    origins = ["https://shop.example"]
    async with (
        running(redis_url, cors_origins=origins, **settings) as node,
        http_client(base_url=node.url) as http,
    ):
        headers = page | {"access-control-request-headers": asks}
        preflight = await http.options(PETS, headers=headers)
        headers = bearing("pets") | {"origin": "https://shop.example"}
        answer = await http.post(PETS, json={"data": 1}, headers=headers)
    assert (preflight.status_code, answer.status_code) == (200, 200)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


async def test_a_page_may_read_that_the_hub_has_failed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> Any:
        raise RuntimeError("a mistake")

    origin = "https://shop.example"
    settings: dict[str, Any] = {"channels": CHANNELS, "token_secrets": [SECRET]}
    async with (
        running(redis_url, cors_origins=[origin], **settings) as node,
        http_client(base_url=node.url) as http,
    ):
        monkeypatch.setattr(node.node.publishing, "publish", fails)
        headers = bearing("pets") | {"origin": origin}
        answer = await http.post(PETS, json={"data": 1}, headers=headers)
    assert answer.status_code == 500
    assert answer.headers["access-control-allow-origin"] == origin
