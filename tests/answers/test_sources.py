from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from broadcaster.answers.sources import closed, texts


async def given(*parts: Any) -> AsyncIterator[Any]:
    for part in parts:
        yield part


async def all_of(source: Any) -> list[str]:
    return [text async for text in texts(source)]


async def test_texts_and_empty_ones() -> None:
    assert await all_of(given("a", "", "b")) == ["a", "b"]


async def test_a_stream_of_openai() -> None:
    def chunk(*contents: str | None) -> Any:
        choices = [SimpleNamespace(delta=SimpleNamespace(content=text)) for text in contents]
        return SimpleNamespace(choices=choices)

    assert await all_of(given(chunk("a"), chunk(None), chunk("b"), chunk())) == ["a", "b"]


async def test_a_run_of_pydantic_ai() -> None:
    # Not at the top: it takes a second, in each process that collects the tests.
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    agent = Agent(TestModel(custom_output_text="Because of Rayleigh scattering."))
    assert "".join(await all_of(agent.run_stream("why?"))) == "Because of Rayleigh scattering."


async def test_it_is_closed_at_the_end() -> None:
    closed = list[str]()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        yield given("a", "b")
        closed.append("closed")

    assert await all_of(opened()) == ["a", "b"]
    assert closed == ["closed"]


async def test_one_that_is_not_read_is_closed_however_its_library_calls_that() -> None:
    seen = list[str]()

    async def aclose() -> None:
        seen.append("aclose")

    async def close() -> None:
        seen.append("close")

    async def fails() -> None:
        raise ZeroDivisionError

    for source in (
        SimpleNamespace(aclose=aclose, close=close),
        SimpleNamespace(close=close),  # a stream of openai
        SimpleNamespace(close=lambda: seen.append("at once")),
        SimpleNamespace(aclose=fails),
        5,
    ):
        await closed(source)
    assert seen == ["aclose", "close", "at once"]


@pytest.mark.parametrize("source", [5, given(5)])
async def test_anything_else_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="int"):
        await all_of(source)
