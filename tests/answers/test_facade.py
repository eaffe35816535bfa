"""Three lines in an application of FastAPI, and what its clients get, also of other processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.responses import Response

from broadcaster import Answers, ConfigurationError
from broadcaster.answers.formats import format_of
from broadcaster.web.runs.formatted import FormattedResponse
from tests.wait import PATIENCE_S, http_client, until

WORDS = ["Because ", "of ", "Rayleigh ", "scattering."]


class Model:
    """A model without a network: it says its words, and waits where it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.said = 0
        self.fails = False
        self.ended = asyncio.Event()

    async def answer(self, text: str) -> AsyncIterator[str]:
        try:
            for word in WORDS:
                if self.said >= 2:
                    await self.go.wait()
                self.said += 1
                yield word
                if (self.fails or text == "trouble") and self.said == 2:
                    raise ZeroDivisionError
        finally:
            self.ended.set()


class Pod(NamedTuple):
    """One process of the application, as far as its clients can tell."""

    http: httpx.AsyncClient
    model: Model
    answers: Answers
    server: uvicorn.Server
    seen: list[str]
    port: int
    app: FastAPI


@asynccontextmanager
async def pod(
    redis_url: str, *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> AsyncIterator[Pod]:
    seen, model = list[str](), Model()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        seen.append("began")
        yield
        seen.append("ended")

    app = FastAPI(lifespan=lifespan)
    answers = Answers(app, redis_url, **options)

    @app.post("/api/chat/{chat}")
    async def chat(chat: str, text: str, run: str = "") -> Response:
        return await answers.start(chat, model.answer(text), run=run)

    @app.get("/api/chat/{chat}/stream")
    async def again(chat: str) -> Response:
        return await answers.resume(chat)

    @app.post("/api/chat/{chat}/stop")
    async def stop(chat: str) -> dict[str, bool]:
        return {"stopped": await answers.stop(chat)}

    @app.get("/readyz")
    async def ready() -> bool:
        return True

    settings: dict[str, Any] = {"log_level": "error", "timeout_graceful_shutdown": 1}
    config = uvicorn.Config(app, host=host, port=port, **settings)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with http_client(base_url=f"http://{host}:{port}") as http:
            yield Pod(http, model, answers, server, seen, port, app)
    finally:
        server.should_exit = True
        await serving


def parts(body: str) -> list[dict[str, Any]]:
    """The parts of a stream of UI messages; its last line must say that it is done."""
    *blocks, done, rest = body.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(b.removeprefix("data: ")) for b in blocks if not b.startswith(":")]


def text_of(found: list[dict[str, Any]]) -> str:
    return "".join(part.get("delta", "") for part in found)


async def test_an_answer_as_the_parts_of_a_message(redis_url: str) -> None:
    async with pod(redis_url) as made:
        answer = await made.http.post("/api/chat/7", params={"text": "why?"})
        assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert answer.headers["content-type"] == "text/event-stream"
        found = parts(answer.text)
        assert [part["type"] for part in found[:3]] == ["start", "text-start", "text-delta"]
        assert [part["type"] for part in found[-2:]] == ["text-end", "finish"]
        assert text_of(found) == "".join(WORDS)
        over = await made.http.get("/api/chat/7/stream")
        assert (over.status_code, over.content) == (204, b"")
        run = found[0]["messageId"]
        state = (await made.http.get(f"/live/v1/runs/{run}")).json()
        assert (state["state"], state["key"]) == ("complete", "7")
        assert made.seen == ["began"]
    assert made.seen == ["began", "ended"]


async def test_the_answer_goes_on_without_its_client_and_another_pod_serves_it(
    redis_url: str,
) -> None:
    async with pod(redis_url) as one, pod(redis_url) as other:
        one.model.go.clear()
        asking = one.http.build_request("POST", "/api/chat/7", params={"text": "why?"})
        stream = await one.http.send(asking, stream=True)
        async for line in stream.aiter_lines():
            if WORDS[0] in line:
                break
        await stream.aclose()  # the tab is closed
        await until(lambda: one.model.said == 2)
        again = other.http.build_request("GET", "/api/chat/7/stream")
        stream = await other.http.send(again, stream=True)
        assert stream.status_code == 200
        one.model.go.set()
        found = parts((await stream.aread()).decode())
    assert text_of(found) == "".join(WORDS)


async def test_stop_works_from_any_pod_and_ends_the_model(redis_url: str) -> None:
    async with pod(redis_url) as one, pod(redis_url) as other:
        one.model.go.clear()
        asking = one.http.build_request("POST", "/api/chat/7", params={"text": "why?"})
        stream = await one.http.send(asking, stream=True)
        await until(lambda: one.model.said == 2)
        assert (await other.http.post("/api/chat/7/stop")).json() == {"stopped": True}
        assert (await other.http.post("/api/chat/7/stop")).json() == {"stopped": False}
        found = parts((await stream.aread()).decode())
        assert [part["type"] for part in found[-2:]] == ["abort", "finish"]
        await asyncio.wait_for(one.model.ended.wait(), PATIENCE_S)
        assert (await one.http.post("/api/chat/8/stop")).json() == {"stopped": False}


async def test_a_model_that_fails_is_said_after_all_of_its_words(redis_url: str) -> None:
    async with pod(redis_url, batch_s=3_600.0) as made:
        answer = await made.http.post("/api/chat/7", params={"text": "trouble"})
    found = parts(answer.text)
    assert text_of(found) == "".join(WORDS[:2])
    assert found[-1] == {"type": "error", "errorText": "ZeroDivisionError"}


async def test_half_an_answer_never_ends_cleanly(redis_url: str) -> None:
    """A pod that drains cuts, and the answer that it produced has failed for all others."""
    async with pod(redis_url) as one, pod(redis_url) as other:
        one.model.go.clear()
        asking = one.http.build_request("POST", "/api/chat/7", params={"text": "why?"})
        stream = await one.http.send(asking, stream=True)
        await until(lambda: one.model.said == 2)
        following = await other.http.send(
            other.http.build_request("GET", "/api/chat/7/stream"), stream=True
        )
        other.answers.hub.state.node.end_responses()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked"):
            await following.aread()
        await stream.aclose()


async def test_a_process_that_ends_publishes_what_it_has_gathered(redis_url: str) -> None:
    async with pod(redis_url) as other:
        async with pod(redis_url, batch_s=3_600.0) as one:
            one.model.go.clear()
            asking = one.http.build_request("POST", "/api/chat/7", params={"text": "why?"})
            stream = await one.http.send(asking, stream=True)
            await until(lambda: one.model.said == 2)
            following = await other.http.send(
                other.http.build_request("GET", "/api/chat/7/stream"), stream=True
            )
            await stream.aclose()
        found = parts((await following.aread()).decode())
    assert text_of(found) == "".join(WORDS[:2])
    assert found[-1] == {"type": "error", "errorText": "shutdown"}


async def test_a_server_that_stops_may_cancel_a_response() -> None:
    closed = list[bool]()
    sent = list[str]()

    async def events() -> AsyncIterator[tuple[str, str]]:
        try:
            yield "", ""
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message["type"])

    response = FormattedResponse(format_of("ai-sdk"), "7-1", events())
    task = asyncio.create_task(response({"type": "http"}, receive, send))
    await until(lambda: len(sent) == 2)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [True]


async def test_trouble_before_the_first_byte_is_503(redis_url: str) -> None:
    async with pod("redis://127.0.0.1:1") as made:
        for answer in (
            await made.http.post("/api/chat/7", params={"text": "why?"}),
            await made.http.get("/api/chat/7/stream"),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


class Opened:
    """A stream of a model that holds a connection."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    async def aclose(self) -> None:
        self.closed = True


async def test_a_stream_whose_answer_does_not_begin_is_closed(redis_url: str) -> None:
    source = Opened()
    async with pod("redis://127.0.0.1:1") as made:
        answer = await made.answers.start("7", source)
        assert (answer.status_code, source.closed) == (503, True)
    source = Opened()
    async with pod(redis_url) as made:
        with pytest.raises(ConfigurationError):
            await made.answers.start("7", source, format="ai")
        assert source.closed


async def test_an_answer_that_its_client_names_begins_once(redis_url: str) -> None:
    named = {"text": "why?", "run": "a"}
    async with pod(redis_url) as one, pod(redis_url) as other:
        one.model.go.clear()
        asking = one.http.build_request("POST", "/api/chat/7", params=named)
        first = await one.http.send(asking, stream=True)
        await until(lambda: one.model.said == 2)
        asking = other.http.build_request("POST", "/api/chat/7", params=named)
        second = await other.http.send(asking, stream=True)
        one.model.go.set()
        answers = [(await stream.aread()).decode() for stream in (first, second)]
        answers.append((await other.http.post("/api/chat/7", params=named)).text)  # it is over
        found = [parts(answer) for answer in answers]
        assert [text_of(one) for one in found] == ["".join(WORDS)] * 3
        assert len({message[0]["messageId"] for message in found}) == 1
        assert (one.model.said, other.model.said) == (len(WORDS), 0)
        answer = await other.http.post("/api/chat/8", params=named)  # of another chat
        assert parts(answer.text)[0] != found[0][0]
        assert other.model.said == len(WORDS)


async def test_a_subject_has_few_answers_that_are_not_over(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROADCASTER_RUNS_PER_SUBJECT", "2")
    async with pod(redis_url) as made:
        answers = made.answers
        assert (await answers.start("7", Opened(), subject="ann")).status_code == 200
        assert (await answers.ask("8", {}, subject="ann")).status_code == 200
        refused = Opened()
        for answer in (
            await answers.start("9", refused, subject="ann"),
            await answers.ask("9", {}, subject="ann"),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert refused.closed
        assert not await answers.stop("9")
        assert (await answers.start("9", Opened(), subject="bob")).status_code == 200
        assert (await answers.start("9", Opened())).status_code == 200
        assert await answers.stop("7")
        assert (await answers.start("9", Opened(), subject="ann")).status_code == 200


async def test_a_format_that_does_not_exist(redis_url: str) -> None:
    async with pod(redis_url) as made:
        with pytest.raises(ConfigurationError, match="ai-sdk"):
            await made.answers.resume("7", format="ai")
