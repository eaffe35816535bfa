"""Lines that are published as they come, with a real server and a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from broadcaster.core.access.policy import Denied, Grant
from broadcaster.web import body as body_of_requests
from broadcaster.web.publishing import lines as publishing
from tests.nodes import running
from tests.wait import PATIENCE_S, http_client, until
from tests.web.publishing.test_endpoint import CHANNELS, PETS, Hub, bearing, hub
from tests.web.test_body import sent_before_reading

__all__ = ["hub"]

NDJSON = {"content-type": "application/x-ndjson"}


def body_of(*events: Any) -> str:
    return "".join(
        (event if isinstance(event, str) else json.dumps(event)) + "\n" for event in events
    )


def said(answer: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.splitlines()]


async def test_each_line_is_an_event_and_the_answer_has_its_id(hub: Hub) -> None:
    body = body_of('{"data":1.10}', "", '{"data":"x","key":"7"}') + '{"data":3}'
    answer = await hub.post(body, bearing("pets") | NDJSON)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    found, stored = said(answer.text), await hub.stored()
    assert [one["line"] for one in found] == [1, 3, 4]
    assert [one["id"] for one in found] == [id_ for id_, *_ in stored]
    assert [data for *_, data in stored] == ["1.10", "x", "3"]
    assert (await hub.post("", bearing("pets") | NDJSON)).text == ""


async def test_the_id_of_a_line_is_its_key_whatever_its_number(hub: Hub) -> None:
    headers = bearing("pets") | NDJSON | {"idempotency-key": "k"}
    one, two = {"data": 1, "id": "a"}, {"data": 2}
    first = said((await hub.post(body_of(one, two), headers)).text)
    again = said(
        (await hub.post(body_of({"data": 3}, one), headers | {"idempotency-key": "l"})).text
    )
    assert again[1]["id"] == first[0]["id"]
    assert [data for *_, data in await hub.stored()] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("line", "status", "detail"),
    [
        ("nope", 400, "not JSON"),
        ('{"n":1}', 422, "expected an object like"),
        ('{"data":1,"type":"stream.x"}', 422, "not beginning with"),
        ('{"data":1,"key":"8"}', 403, "is not granted"),
        (json.dumps({"data": "x" * 1_600_000, "key": "7"}), 413, "more than 1572864"),
    ],
)
async def test_the_first_line_that_is_wrong_ends_the_answer(
    hub: Hub, line: str, status: int, detail: str
) -> None:
    good = {"data": 1, "key": "7"}
    body = body_of(good, good, line, good)
    answer = await hub.post(body, bearing("pets:7") | NDJSON)
    *ids, last = said(answer.text)
    assert (answer.status_code, last["status"], last["line"]) == (status, status, 3)
    assert detail in last["detail"]
    stored = await hub.stored()
    assert [one["id"] for one in ids] == [id_ for id_, *_ in stored]
    assert len(stored) == 2


async def test_a_body_of_lines_with_a_key_is_published_once_also_after_half_of_it(
    hub: Hub,
) -> None:
    headers = bearing("pets") | NDJSON | {"idempotency-key": "k"}
    events = [{"data": n} for n in range(5)]
    half = await hub.post(body_of(*events[:3], "nope"), headers)
    whole = [await hub.post(body_of(*events), headers) for _ in range(2)]
    assert half.status_code == 400
    assert whole[0].text == whole[1].text
    assert said(half.text)[:3] == said(whole[0].text)[:3]
    assert [data for *_, data in await hub.stored()] == ["0", "1", "2", "3", "4"]
    other = await hub.post(body_of({"data": 0}, {"data": "other"}), headers)
    *_, last = said(other.text)
    assert (other.status_code, last["line"], last["status"]) == (422, 2, 422)


async def test_lines_with_ids_are_published_once(hub: Hub) -> None:
    body = body_of({"data": 1, "id": "a"}, {"data": 2, "id": "b"})
    texts = {(await hub.post(body, bearing("pets") | NDJSON)).text for _ in range(2)}
    assert len(texts) == 1
    assert len(await hub.stored()) == 2


async def test_lines_are_published_as_they_come(hub: Hub) -> None:
    more, rights = asyncio.Event(), bearing("pets") | NDJSON

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"data":1}\n{"da'
        await more.wait()
        yield b'ta":2}\n'

    sending = asyncio.create_task(hub.http.post(PETS, content=slowly(), headers=rights))
    await until(lambda: hub.redis.xlen("pets"))
    assert hub.running.node.publishes == 1
    more.set()
    assert [one["line"] for one in said((await sending).text)] == [1, 2]
    assert hub.running.node.publishes == 0


async def test_a_client_that_leaves_has_published_what_it_sent(hub: Hub) -> None:
    async def forever() -> AsyncIterator[bytes]:
        yield b'{"data":1}\n{"data":2}'
        await asyncio.Future()

    sending = asyncio.create_task(
        hub.http.post(PETS, content=forever(), headers=bearing("pets") | NDJSON)
    )
    await until(lambda: hub.redis.xlen("pets"))
    sending.cancel()
    await until(lambda: not hub.running.node.publishes)
    assert await hub.redis.xlen("pets") == 1  # half a line is no event


async def test_a_node_that_shuts_down_ends_a_body(hub: Hub) -> None:
    async def forever() -> AsyncIterator[bytes]:
        yield b'{"data":1}\n'
        await until(lambda: hub.redis.xlen("pets"))
        hub.running.node.draining = True
        await until(lambda: not hub.running.node.publishes)

    answer = await hub.http.post(PETS, content=forever(), headers=bearing("pets") | NDJSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert [one["line"] for one in said(answer.text)] == [1, 2]


async def test_a_revoked_token_ends_a_body(hub: Hub) -> None:
    async def forever() -> AsyncIterator[bytes]:
        yield b'{"data":1}\n'
        await until(lambda: hub.redis.xlen("pets"))
        hub.running.node.revoking.known.add("shop", 1 << 50)
        yield b'{"data":2}\n'
        await until(lambda: not hub.running.node.publishes)

    answer = await hub.http.post(PETS, content=forever(), headers=bearing("pets") | NDJSON)
    assert answer.status_code == 401
    assert await hub.redis.xlen("pets") == 1


async def test_a_line_that_is_too_long_is_refused(hub: Hub) -> None:
    body = body_of({"data": 1}) + '{"data":"' + "x" * 3_000_000
    answer = await hub.post(body, bearing("pets") | NDJSON)
    assert answer.status_code == 413
    assert "a line has more than 2097152 bytes" in answer.text
    assert said(answer.text)[-1]["line"] == 2


async def test_the_answer_to_many_lines_begins_before_they_end(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_ANSWER_BYTES", 100)
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.running.port)
    head = "".join(f"{n}: {v}\r\n" for n, v in {**bearing("pets"), **NDJSON}.items())
    writer.write(f"POST {PETS} HTTP/1.1\r\nhost: localhost\r\n{head}".encode())
    body = body_of(*[{"data": n} for n in range(50)]).encode()
    writer.write(b"content-length: %d\r\n\r\n" % (len(body) + 5) + body)
    assert b"200 OK" in await reader.readuntil(b'"line":50')
    writer.write(b"nope\n")
    rest = await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    assert b'"line":51,"detail":"the line is not JSON' in rest


@pytest.mark.parametrize(
    ("first", "more", "said"),
    [
        (b"nope", {}, b'"detail":"the line is not JSON'),
        (b'{"data":1}', {"authorization": "Bearer x"}, b"token that could be read"),
        (b'{"data":1}', {"content-type": "application/json"}, b"more than 2097152 bytes"),
        (b'{"data":1}', {"content-type": "text/plain"}, b"the Content-Type is one of"),
    ],
)
async def test_a_client_that_sends_all_of_a_long_body_reads_why_it_is_refused(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, first: bytes, more: dict[str, str], said: bytes
) -> None:
    monkeypatch.setattr(body_of_requests, "_LINGER_S", PATIENCE_S)
    body = first + b'\n{"data":2}' * 1_000_000
    headers = bearing("pets") | NDJSON | more | {"host": "a", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {PETS} HTTP/1.1\r\n{lines}\r\n"
    answer = await asyncio.to_thread(sent_before_reading, hub.running.port, head, body)
    assert said in answer
    assert b"connection: close" in answer
    assert await hub.stored() == []


async def test_while_redis_refuses_no_line_is_noted(hub: Hub) -> None:
    await hub.redis.config_set("maxmemory", 1)
    try:
        answer = await hub.post(body_of({"data": 1}, {"data": 2}), bearing("pets") | NDJSON)
    finally:
        await hub.redis.config_set("maxmemory", 0)
    (only,) = said(answer.text)
    assert (answer.status_code, only["status"], only["line"]) == (503, 503, 1)


def keys_of(found: Iterable[frozenset[str]]) -> list[list[str]]:
    return [sorted(keys) for keys in found]


async def test_a_policy_is_asked_about_new_keys_and_may_fail(redis_url: str, client: Any) -> None:
    asked: list[frozenset[str]] = []

    def policy(_: Any, __: Any, ___: str, keys: frozenset[str]) -> Any:
        asked.append(keys)
        if "broken" in keys:
            raise RuntimeError("no")
        return Denied("not this one") if "bad" in keys else Grant()

    async with (
        running(redis_url, authorize=policy, channels=CHANNELS) as node,
        http_client(base_url=node.url) as http,
    ):
        events = [{"data": 1, "key": key} for key in ("a", "b", "a", "bad", "c")]
        answer = await http.post(PETS, content=body_of(*events), headers=NDJSON)
        broken = body_of({"data": 1, "key": "broken"})
        failed = await http.post(PETS, content=broken, headers=NDJSON)
    assert (answer.status_code, said(answer.text)[-1]["line"]) == (403, 4)
    assert keys_of(asked[:4]) == [["a", "b", "bad", "c"], ["a"], ["b"], ["bad"]]
    assert failed.status_code == 500
    assert await client.xlen("pets") == 3
