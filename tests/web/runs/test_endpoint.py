"""Runs over HTTP: a POST begins one, any device follows it, and a POST stops it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broadcaster import Publisher, RunQueue, RunStoppedError
from broadcaster.core.access.policy import Action, Caller, Denied, Grant
from broadcaster.core.catalogue import Catalogue
from broadcaster.core.event import EventId
from broadcaster.web.runs.endpoint import parsed
from tests.channels import named
from tests.nodes import Raw, Running, events, running, told
from tests.wait import PATIENCE_S, http_client, until
from tests.web.tokens.issuers import SECRET, token

CHANNELS = Catalogue(
    named("answers", requests="answers.requests", terminal=frozenset({"complete"}))
)
PATH = "/v1/answers/stream"


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, channels=CHANNELS) as made:
        yield made


@pytest.fixture
async def worker(redis_url: str) -> AsyncIterator[RunQueue]:
    async with Publisher(redis_url, channels=CHANNELS) as publisher:
        yield RunQueue(publisher, "answers")


async def begun(http: httpx.AsyncClient, **body: Any) -> dict[str, str]:
    answer = await http.post(PATH, json={"key": "ann", **body})
    assert answer.status_code == 201, answer.text
    found: dict[str, str] = answer.json()
    assert answer.headers["location"] == found["url"] == f"{PATH}?run={found['run']}"
    return found


async def test_a_run_from_its_beginning_to_its_end(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue
) -> None:
    made = await begun(http, question="why?")
    path = f"/v1/runs/{made['run']}"
    shown = {"run": made["run"], "channel": "answers", "key": "ann", "url": made["url"]}
    found = (await http.get(path)).json()
    assert found.pop("waited_ms") + found.pop("left_ms") == hub.node.settings.run_wait_s * 1_000
    assert found == {**shown, "state": "waiting", "attempt": 0}
    early = await Raw.get(hub.port, made["url"])
    (run,) = await worker.take(1, wait_s=1.0)
    assert (run.id, run.key, run.body) == (made["run"], "ann", b'{"key":"ann","question":"why?"}')
    assert (await http.get(path)).json() == {**shown, "state": "running", "attempt": 1}
    await run.publish(data="be")
    await until(lambda: early.until(b"data: be"))
    middle = await Raw.get(hub.port, made["url"])
    await run.publish(data="cause")
    await run.complete(data="!")
    late = await Raw.get(hub.port, made["url"])
    for stream in (early, middle, late):
        assert told(await stream.rest()) == ["be", "cause", "!"]
    assert (await http.get(path)).json() == {**shown, "state": "complete", "attempt": 1}
    last = events(late.body)[-1].id
    over = await Raw.get(hub.port, made["url"], f"Last-Event-ID: {last}\r\n")
    assert over.head.startswith(b"HTTP/1.1 204")
    assert await worker.publisher.redis.xlen("answers.requests") == 0


async def test_a_follower_that_comes_back_goes_on_and_costs_no_command(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue, client: Any
) -> None:
    made = await begun(http)
    (run,) = await worker.take(1, wait_s=1.0)
    for text in "abc":
        await run.publish(data=text)
    stream = await Raw.get(hub.port, made["url"])
    await stream.until(b"data: c")  # which may come after `stream.live`
    seen = [event for event in events(stream.body) if event.data == "b"]
    before = (await client.info("commandstats"))["cmdstat_hgetall"]["calls"]
    for _ in range(20):
        again = await Raw.get(hub.port, made["url"], f"Last-Event-ID: {seen[0].id}\r\n")
        assert told(await again.until(b"data: c")) == ["c"]
        again.close()
    after = (await client.info("commandstats"))["cmdstat_hgetall"]["calls"]
    assert after - before < 10  # the node asks by itself, for the other nodes, every three seconds
    rubbish = await Raw.get(hub.port, made["url"], "Last-Event-ID: answers=5-5,run=7-7\r\n")
    assert told(await rubbish.until(b"data: c")) == ["a", "b", "c"]


async def test_a_stop_ends_the_stream_and_the_work(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue
) -> None:
    cancelled = asyncio.Event()

    async def answer(run: Any) -> None:
        await run.publish(data="half")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(RunStoppedError):
                await run.publish(data="late")
            cancelled.set()
            raise

    work = asyncio.create_task(worker.serve(answer))
    made = await begun(http)
    stream = await Raw.get(hub.port, made["url"])
    await stream.until(b"half")
    for _ in range(2):
        answered = await http.post(f"/v1/runs/{made['run']}/stop")
        assert answered.status_code == 200
        assert (answered.json()["state"], answered.json()["reason"]) == ("stopped", "stopped")
    seen = [(e.event, e.data) for e in events(await stream.rest()) if e.event != "stream.live"]
    assert seen == [("message", "half"), ("stopped", "{}")]
    async with asyncio.timeout(PATIENCE_S):
        await cancelled.wait()
    work.cancel()
    await asyncio.wait([work])


async def test_a_client_without_a_worker_does_not_wait_in_silence(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue
) -> None:
    made = await begun(http)
    stream = await Raw.get(hub.port, made["url"])
    asked = await Raw.get(hub.port, f"{PATH}?key=bob")  # a GET begins a run, too
    for one in (asked, stream):
        await one.until(b"stream.waiting")
        found = next(e for e in events(one.body) if e.event == "stream.waiting")
        assert json.loads(found.data)["waited_ms"] >= 1_000
        assert json.loads(found.data)["left_ms"] > 0
        assert f"run={made['run']}" in found.id or one is asked
    runs = [(await worker.take(1, wait_s=1.0))[0] for _ in range(2)]
    for run in runs:
        await run.publish(data="a")
        await run.complete(data="!")
    assert told(await stream.rest()) == told(await asked.rest()) == ["a", "!"]
    again = await Raw.get(hub.port, made["url"], f"Last-Event-ID: {found.id}\r\n")
    assert b"stream.reset" not in await again.rest()
    assert told(again.body) == ["a", "!"]


async def test_a_client_learns_that_the_worker_of_its_run_is_gone(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue
) -> None:
    made = await begun(http)
    stream = await Raw.get(hub.port, made["url"])
    (run,) = await worker.take(1, wait_s=1.0)
    await run.publish(data="half")
    await stream.until(b"half")
    await worker.aclose()  # it gives the run back
    body = await stream.until(b"stream.waiting")
    assert body.index(b"half") < body.index(b"stream.waiting")
    shown = (await http.get(f"/v1/runs/{made['run']}")).json()
    assert shown["state"] == "running"
    assert shown["waited_ms"] >= 1_000


async def test_a_run_that_no_worker_takes_ends_in_time(redis_url: str) -> None:
    async with (
        running(redis_url, channels=CHANNELS, run_wait_s=0.2) as hub,
        http_client(base_url=hub.url) as http,
    ):
        made = await begun(http)
        stream = await Raw.get(hub.port, made["url"])
        seen = [(e.event, e.data) for e in events(await stream.rest()) if e.event != "stream.live"]
        assert seen == [("failed", '{"reason":"waited"}')]
        state = (await http.get(f"/v1/runs/{made['run']}")).json()
    assert (state["state"], state["reason"]) == ("expired", "waited")


async def test_what_is_not_retained_is_over_at_once_and_what_is_unknown_is_404(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue, redis_url: str
) -> None:
    made = await begun(http)
    (run,) = await worker.take(1, wait_s=1.0)
    await run.complete()
    await worker.publisher.redis.xtrim("answers", maxlen=0, approximate=False)
    async with running(redis_url, channels=CHANNELS) as another:
        gone = await Raw.get(another.port, made["url"])
        assert gone.head.startswith(b"HTTP/1.1 204")
    for path in (f"{PATH}?run=5-5", "/v1/runs/5-5", "/v1/runs/x"):
        assert (await http.get(path)).status_code == 404
    assert (await http.post("/v1/runs/5-5/stop")).status_code == 404
    for wrong in ("run=x", "run=7-1&from=x", "run=7-1&names=x"):
        assert (await http.get(f"{PATH}?{wrong}")).status_code == 400
    assert await worker.publisher.redis.xlen("answers.requests") == 0


async def test_a_run_that_a_get_has_begun_is_followed_by_its_id_too(
    hub: Running, worker: RunQueue
) -> None:
    first = await Raw.get(hub.port, PATH + "?key=ann")
    (run,) = await worker.take(1, wait_s=5.0)
    await run.publish(data="a")
    await first.until(b"data: a")
    second = await Raw.get(hub.port, f"{PATH}?run={run.id}")
    await run.complete(data="b")
    assert told(await second.rest()) == told(await first.rest()) == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "content", "type_", "status"),
    [
        (PATH, b"{}", "application/json", 400),
        (PATH, b"{", "application/json", 400),
        (PATH, b'{"key": 5}', "application/json", 400),
        (PATH, b'{"key": "\\ud800"}', "application/json", 400),
        (PATH + "?key=" + "x" * 257, b"{}", "application/json", 400),
        (PATH, b'{"key": "ann"}', "text/plain", 415),
        (PATH, b'{"key": "' + b"x" * 70_000 + b'"}', "application/json", 413),
        ("/v1/other/stream", b"{}", "application/json", 405),
    ],
)
async def test_what_is_no_request_for_a_run_is_refused(
    redis_url: str, path: str, content: bytes, type_: str, status: int
) -> None:
    channels = Catalogue([*CHANNELS.values(), *named("other")])
    async with running(redis_url, channels=channels) as hub, http_client(base_url=hub.url) as http:
        answer = await http.post(path, content=content, headers={"content-type": type_})
    assert answer.status_code == status, answer.text


async def test_the_key_is_in_the_path_the_query_or_the_body(redis_url: str) -> None:
    (other,) = named("others", requests="others.requests", key_param="user")
    channel = type(other)(name="by-path", path="/v1/chats/{key}/stream", requests="chats")
    async with (
        running(redis_url, channels=Catalogue([other, channel])) as hub,
        http_client(base_url=hub.url) as http,
    ):
        by_path = await http.post("/v1/chats/a%20b/stream", json={"key": "no"})
        by_query = await http.post("/v1/others/stream?user=q", json=[])
        by_body = await http.post("/v1/others/stream", json={"user": "b"})
        assert by_path.json()["url"].startswith("/v1/chats/a%20b/stream?run=")
        keys = [
            (await http.get(f"/v1/runs/{answer.json()['run']}")).json()["key"]
            for answer in (by_path, by_query, by_body)
        ]
    assert keys == ["a b", "q", "b"]


async def test_a_full_queue_and_a_missing_redis_are_said(redis_url: str, client: Any) -> None:
    async with (
        running(redis_url, channels=CHANNELS, max_requests=1) as hub,
        http_client(base_url=hub.url) as http,
    ):
        await begun(http)
        refused = await http.post(PATH, json={"key": "ann"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        await client.set("answers.requests", "no stream")
        assert (await http.post(PATH, json={"key": "ann"})).status_code == 503
        hub.node.draining = True
        assert (await http.post(PATH, json={"key": "ann"})).status_code == 503


def asked_by_anyone(
    caller: Caller, action: Action, channel: str, keys: frozenset[str]
) -> Grant | Denied:
    """Every user may ask, and only Carl has a grant to read."""
    user = caller.headers.get("x-user", "")
    if not user:
        return Denied("say who you are", 401)
    may = action is Action.REQUEST or (user == "carl" and keys == {"ann"})
    return Grant(user) if may else Denied("not yours")


async def test_a_run_belongs_to_the_one_that_began_it(redis_url: str) -> None:
    ann, bob, carl = ({"x-user": user} for user in ("ann", "bob", "carl"))
    async with (
        running(redis_url, channels=CHANNELS, authorize=asked_by_anyone, runs_per_subject=2) as hub,
        http_client(base_url=hub.url) as http,
    ):
        assert (await http.post(PATH, json={"key": "ann"})).status_code == 401
        made = (await http.post(PATH, json={"key": "ann"}, headers=ann)).json()
        path, stop = f"/v1/runs/{made['run']}", f"/v1/runs/{made['run']}/stop"
        for headers, status in (({}, 401), (bob, 403), (carl, 200), (ann, 200)):
            assert (await http.get(path, headers=headers)).status_code == status
        assert (await http.post(stop, headers=bob)).status_code == 403
        refused = await Raw.get(hub.port, made["url"], "X-User: bob\r\n")
        assert refused.head.startswith(b"HTTP/1.1 403")
        stream = await Raw.get(hub.port, made["url"], "X-User: ann\r\n")
        await stream.until(b"stream.live")
        assert (await http.post(PATH, json={"key": "b"}, headers=ann)).status_code == 201
        assert (await http.post(PATH, json={"key": "b"}, headers=ann)).status_code == 429
        assert (await http.post(stop, headers=ann)).json()["state"] == "stopped"
        assert b"event: stopped" in await stream.rest()
        assert (await http.post(PATH, json={"key": "b"}, headers=ann)).status_code == 201


async def test_a_token_is_for_the_keys_that_it_names(redis_url: str) -> None:
    rights = {"subscribe": ["answers:ann"]}
    ann = {"authorization": f"Bearer {token(sub='ann', broadcaster=rights)}"}
    async with (
        running(redis_url, channels=CHANNELS, token_secrets=[SECRET]) as hub,
        http_client(base_url=hub.url) as http,
    ):
        assert (await http.post(PATH, json={"key": "ann"})).status_code == 401
        assert (await http.post(PATH, json={"key": "bob"}, headers=ann)).status_code == 403
        made = (await http.post(PATH, json={"key": "ann"}, headers=ann)).json()
        stop = f"/v1/runs/{made['run']}/stop"
        assert (await http.post(stop)).status_code == 401
        assert (await http.post(stop, headers=ann)).json()["state"] == "stopped"


def _policy(caller: Caller, action: Action, channel: str, keys: frozenset[str]) -> Grant | Denied:
    raise ZeroDivisionError


async def test_a_policy_that_fails_is_a_500_and_begins_nothing(redis_url: str, client: Any) -> None:
    async with (
        running(redis_url, channels=CHANNELS, authorize=_policy) as hub,
        http_client(base_url=hub.url) as http,
    ):
        assert (await http.post(PATH, json={"key": "ann"})).status_code == 500
        assert await client.xlen("answers.requests") == 0


def test_an_id_is_two_numbers() -> None:
    assert parsed("7-1") == EventId(7, 1)
    assert parsed("a") is None
