"""Reads the texts that the libraries of models return. It imports none of these libraries."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any


async def texts(source: Any) -> AsyncIterator[str]:
    """Yield the parts of a text.

    Args:
        source: an async iterator of `str`; a stream of chat completions of `openai`; or what
            `run_stream` of `pydantic-ai` returns. It is closed at the end.

    Raises:
        TypeError: it is none of these.
    """
    async with AsyncExitStack() as stack:
        if hasattr(source, "__aenter__"):
            source = await stack.enter_async_context(source)
        if hasattr(source, "stream_text"):  # pydantic-ai
            source = source.stream_text(delta=True)
        if not hasattr(source, "__aiter__"):
            raise TypeError(f"an answer is an async iterator of texts, not {type(source).__name__}")
        if hasattr(source, "aclose"):
            stack.push_async_callback(source.aclose)
        async for part in source:
            if text := _text(part):
                yield text


async def closed(source: Any) -> None:
    """Close a source of `texts` that is not read, so that its connection to a model ends.

    An error while it closes is dropped, because its answer was refused for another reason.
    """
    close = getattr(source, "aclose", None) or getattr(source, "close", None)
    with suppress(Exception):
        if close and inspect.isawaitable(closing := close()):
            await closing


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if hasattr(part, "choices"):  # openai; the last chunk has no choice
        return "".join(choice.delta.content or "" for choice in part.choices)
    raise TypeError(f"a part of an answer is a str, not {type(part).__name__}")
