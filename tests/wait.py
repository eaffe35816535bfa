"""Waiting for something to become true, instead of sleeping and hoping.

A wait ends as soon as its condition is true, so its limit costs nothing where a test passes. The
limit is a generous multiple of what is awaited: it is there to end a test that hangs, on a machine
that has ten times as much to do. A test of a time limit compares with `allowed_s`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

import httpx

_T = TypeVar("_T")
# The time between two looks: a twentieth of the time waited so far, within these bounds. So a short
# wait takes no longer than it must, and a long one leaves the CPU to what it waits for.
_POLL_S = (0.001, 0.05)
_SPIN_S = 0.02
_PRESSURE = Path("/proc/pressure/cpu")

#: How patient the tests are: PATIENCE=3 for a machine that is very slow, PATIENCE=0.2 where most
#: tests are expected to fail, as with mutants.
PATIENCE = float(os.environ.get("PATIENCE", "1"))

#: The limit of every wait that should end soon.
PATIENCE_S = 45.0 * PATIENCE

#: The limit of one test, in which several things are awaited.
TEST_S = 240.0 * PATIENCE

#: The limit of a property that takes many thousand steps, which wait for the processor alone.
STEPS_S = 4 * TEST_S


@overload
async def until(condition: Callable[[], Awaitable[_T]], timeout_s: float = PATIENCE_S) -> _T: ...
@overload
async def until(condition: Callable[[], _T], timeout_s: float = PATIENCE_S) -> _T: ...
async def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Wait until a condition, blocking or asynchronous, is true, and return its value.

    Raises:
        TimeoutError: it was not true for `timeout_s`; the message has its last value.
    """
    began_s = time.monotonic()
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        waited_s = time.monotonic() - began_s
        if waited_s > timeout_s:
            raise TimeoutError(f"not true within {timeout_s} s: {value!r}")
        await asyncio.sleep(_pause_s(waited_s))


def until_sync(condition: Callable[[], _T], timeout_s: float = PATIENCE_S) -> _T:
    """As `until`, for blocking code."""
    began_s = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited_s = time.monotonic() - began_s
        if waited_s > timeout_s:
            raise TimeoutError(f"not true within {timeout_s} s: {value!r}")
        time.sleep(_pause_s(waited_s))


def _pause_s(waited_s: float) -> float:
    shortest_s, longest_s = _POLL_S
    return min(max(shortest_s, waited_s / 20), longest_s)


def allowed_s(promised_s: float) -> float:
    """The time that something may take here and now, which takes `promised_s` on an idle machine.

    It computes for some milliseconds and looks how much longer than that it took. What ran beside
    the test may have ended by then, so it also asks Linux about the last ten seconds.
    """
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    while (spent_s := time.process_time() - began_cpu_s) < _SPIN_S:
        pass
    slowness = max((time.monotonic() - began_s) / spent_s, 2.0 if _was_busy() else 1.0)
    return promised_s * (2.0 * slowness if slowness > 1.2 else 1.0)


def _was_busy() -> bool:
    """Return True if programs waited for a CPU in more than a tenth of the last ten seconds.

    The first line is "some avg10=1.53 avg60=…", see https://docs.kernel.org/accounting/psi.html.
    """
    try:
        return float(_PRESSURE.read_text().split()[1].partition("=")[2]) > 10.0
    except OSError:
        return False


def http_client(**options: Any) -> httpx.AsyncClient:
    """An HTTP client with the tests' patience; httpx's own is 5 s."""
    given: dict[str, Any] = {"timeout": PATIENCE_S, "verify": _roots()} | options
    return httpx.AsyncClient(**given)


@cache
def _roots() -> ssl.SSLContext:
    """The authorities that httpx reads anew for each client, which takes longer than most tests."""
    return httpx.create_ssl_context()
