"""Waiting for something to become true, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

_T = TypeVar("_T")
_POLL_S = 0.01


@overload
async def until(condition: Callable[[], Awaitable[_T]], timeout_s: float = 5.0) -> _T: ...
@overload
async def until(condition: Callable[[], _T], timeout_s: float = 5.0) -> _T: ...
async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    """Wait until a condition, blocking or asynchronous, is true, and return its value.

    Raises:
        TimeoutError: it was not true for `timeout_s`; the message has its last value.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not true within {timeout_s} s: {value!r}")
        await asyncio.sleep(_POLL_S)


def until_sync(condition: Callable[[], _T], timeout_s: float = 5.0) -> _T:
    """As `until`, for blocking code."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not true within {timeout_s} s: {value!r}")
        time.sleep(_POLL_S)
