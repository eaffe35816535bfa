"""What the client of OpenAI makes of answers: half of one must never look like the whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from broadcaster import Publisher, RunQueue
from tests.answers.stage import serve_retrieval
from tests.answers.test_facade import WORDS, Pod, pod
from tests.wait import PATIENCE_S, until

WHOLE = "".join(WORDS)
DELTA = "response.output_text.delta"


@asynccontextmanager
async def served(redis_url: str) -> AsyncIterator[tuple[Pod, Any]]:
    """A pod with the three requests of the API, and the client of it."""
    # Not at the top: it takes a second, in each process that collects the tests.
    from openai import AsyncOpenAI

    async with pod(redis_url, batch_s=0.01) as made:

        @made.app.post("/v1/responses")
        async def create(request: Request) -> Response:
            body = await request.json()
            return await made.answers.start("7", made.model.answer(body["input"]), format="openai")

        serve_retrieval(made)
        url = f"http://127.0.0.1:{made.port}/v1"
        async with AsyncOpenAI(
            base_url=url, api_key="none", max_retries=0, timeout=PATIENCE_S
        ) as client:
            yield made, client


async def ask(client: Any) -> Any:
    return await client.responses.create(model="stub", input="why?", stream=True)


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == DELTA)


async def half(stream: Any) -> list[Any]:
    """Read until the first words are there."""
    found: list[Any] = []
    async for event in stream:
        found.append(event)
        if event.type == DELTA:
            return found
    raise AssertionError(found)


async def test_a_whole_answer_live_again_and_polled(redis_url: str) -> None:
    async with served(redis_url) as (_, client):
        live = [event async for event in await ask(client)]
        assert (live[-1].type, text_of(live)) == ("response.completed", WHOLE)
        run = live[0].response.id
        again = [event async for event in await client.responses.retrieve(run, stream=True)]
        assert again == live
        tail = await client.responses.retrieve(run, stream=True, starting_after=3)
        assert [event async for event in tail] == live[4:]
        polled = await client.responses.retrieve(run)
        assert (polled.status, polled.output_text) == ("completed", WHOLE)
        async with client.responses.stream(response_id=run, starting_after=3) as stream:
            final = await stream.get_final_response()
        assert final.output_text == WHOLE


async def test_half_an_answer_is_cut_and_another_pod_goes_on(redis_url: str) -> None:
    from openai import APIConnectionError

    async with served(redis_url) as (one, first), served(redis_url) as (_, second):
        one.model.go.clear()
        stream = await ask(first)
        seen = await half(stream)
        run = seen[0].response.id
        polled = await second.responses.retrieve(run)
        assert polled.status == "in_progress"
        assert WHOLE.startswith(polled.output_text)
        assert polled.output_text != WHOLE
        following = await second.responses.retrieve(
            run, stream=True, starting_after=seen[-1].sequence_number
        )
        one.answers.hub.state.node.end_responses()
        with pytest.raises(APIConnectionError):
            seen += [event async for event in stream]
        one.model.go.set()
        rest: list[Any] = [event async for event in following]
    assert (rest[-1].type, text_of(seen + rest)) == ("response.completed", WHOLE)
    assert rest[-1].response.output_text == WHOLE
    numbers = [event.sequence_number for event in seen + rest]
    assert numbers == list(range(len(numbers)))


async def test_an_answer_that_fails(redis_url: str) -> None:
    async with served(redis_url) as (made, client):
        made.model.fails = True
        live = [event async for event in await ask(client)]
        assert live[-1].type == "response.failed"
        assert live[-1].response.error.message == "ZeroDivisionError"
        polled = await client.responses.retrieve(live[0].response.id)
        assert (polled.status, polled.output_text) == ("failed", text_of(live))
        assert polled.output_text != WHOLE


async def test_an_answer_that_another_device_cancels(redis_url: str) -> None:
    async with served(redis_url) as (one, first), served(redis_url) as (_, second):
        one.model.go.clear()
        stream = await ask(first)
        seen = await half(stream)
        run = seen[0].response.id
        assert (await second.responses.cancel(run)).status == "cancelled"
        seen += [event async for event in stream]
        assert (seen[-1].type, seen[-1].response.status) == ("response.incomplete", "cancelled")
        await asyncio.wait_for(one.model.ended.wait(), PATIENCE_S)
        assert (await second.responses.cancel(run)).status == "cancelled"


async def test_an_answer_that_is_unknown_is_no_empty_success(redis_url: str) -> None:
    from openai import NotFoundError

    async with served(redis_url) as (_, client):
        for id_ in ("nothing", "1-1"):
            with pytest.raises(NotFoundError):
                await client.responses.retrieve(id_, stream=True)
            with pytest.raises(NotFoundError):
                await client.responses.cancel(id_)


async def test_a_number_from_before_a_restart_is_refused(redis_url: str) -> None:
    from openai import APIConnectionError, ConflictError

    async with (
        served(redis_url) as (made, client),
        Publisher(redis_url, channels=[made.answers.channel]) as publisher,
    ):
        queue = RunQueue(publisher, "answers")
        asking = asyncio.create_task(made.answers.ask("7", {"text": "why?"}, format="openai"))
        (run,) = await until(lambda: queue.take(1))
        assert json.loads(run.body) == {"text": "why?"}
        await asking
        for word in ("Forget ", "this."):
            await run.publish(type="text", data=word)
        stream: Any = await client.responses.retrieve(run.id, stream=True)
        seen = [await anext(stream) for _ in range(5)]
        await run.restart()
        with pytest.raises(APIConnectionError):
            await anext(stream)
        for after in range(5):
            with pytest.raises(ConflictError):
                await client.responses.retrieve(run.id, stream=True, starting_after=after)
        await run.publish(type="text", data=WHOLE)
        await run.complete()
        again: Any = [event async for event in await client.responses.retrieve(run.id, stream=True)]
        assert again[0].sequence_number == seen[-1].sequence_number + 1
        assert (again[-1].type, text_of(again)) == ("response.completed", WHOLE)
        tail = await client.responses.retrieve(
            run.id, stream=True, starting_after=again[2].sequence_number
        )
        assert [event async for event in tail] == again[3:]
        assert (await client.responses.retrieve(run.id)).output_text == WHOLE


async def test_an_answer_that_begins_anew_before_its_first_word_has_the_same_numbers(
    redis_url: str,
) -> None:
    async with (
        served(redis_url) as (made, client),
        Publisher(redis_url, channels=[made.answers.channel]) as publisher,
    ):
        queue = RunQueue(publisher, "answers")
        asking = asyncio.create_task(made.answers.ask("7", {}, format="openai"))
        (run,) = await until(lambda: queue.take(1))
        await asking
        stream: Any = await client.responses.retrieve(run.id, stream=True)
        live = [await anext(stream)]
        await run.restart()
        await run.publish(type="text", data=WHOLE)
        await run.complete()
        live += [event async for event in stream]
        assert [event.sequence_number for event in live] == list(range(len(live)))
        assert text_of(live) == WHOLE
        again = [event async for event in await client.responses.retrieve(run.id, stream=True)]
        assert again == live


async def test_redis_is_away(redis_url: str) -> None:
    async with served("redis://127.0.0.1:1") as (made, _):
        answer = await made.http.get("/v1/responses/1-1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
