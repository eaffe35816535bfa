"""Asks policies, verifiers and issuers of tickets, which may have to wait or to load something."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from broadcaster.core.access.policy import NotYet
from broadcaster.core.wire import Shed
from broadcaster.web.problem import AnsweredError, problem

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_COMPLAIN_S = 10.0


class PolicyFailedError(AnsweredError):
    """The policy has raised an error, has returned no decision, or takes too long.

    The answer says nothing about the error.
    """

    def __init__(self) -> None:
        """Make the answer."""
        super().__init__(problem(500, "the hub's policy failed; the log says how"))


class UndecidedError(AnsweredError):
    """Something that a decision needs can't be loaded for now."""

    def __init__(self) -> None:
        """Make the answer, for all that is no event stream."""
        super().__init__(problem(503, Shed.ACCESS.text, {"retry-after": "10"}))


class _Complaints:
    """Log lines about trouble that each request meets: a warning now and then, and debug lines."""

    def __init__(self) -> None:
        self._due_s = float("-inf")

    def log(self, text: str, *args: object) -> None:
        """Log a warning if the last one is some seconds old, and else a line for debugging."""
        now_s = time.monotonic()
        due = now_s >= self._due_s
        if due:
            self._due_s = now_s + _COMPLAIN_S
        logger.log(logging.WARNING if due else logging.DEBUG, text, *args)


_complaints = _Complaints()


async def settled(ask: Callable[[], Any], kinds: tuple[type, ...], failure: str) -> Any:
    """Return an answer of one of these kinds. What it needs is loaded, at most once.

    Args:
        ask: asks. It may return an awaitable.
        kinds: of its answers, apart from `NotYet`.
        failure: what the log says if it fails.

    Raises:
        PolicyFailedError: it fails, takes too long, or its answer is of another kind.
        UndecidedError: what it needs can't be loaded for now.
    """
    for again in (True, False):
        try:
            found = ask()
            if isinstance(found, kinds):
                return found
            if inspect.isawaitable(found):
                async with asyncio.timeout(_TIMEOUT_S):
                    found = await found
            if not isinstance(found, (*kinds, NotYet)):
                expected = " or ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"it returns {expected}, not {found!r}")
        except Exception as error:
            logger.exception(failure)
            raise PolicyFailedError from error
        if not isinstance(found, NotYet):
            return found
        if again:
            await _load(found, failure)
    raise UndecidedError


async def _load(found: NotYet, failure: str) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await found.load()
    except Exception as error:
        _complaints.log("%s for now: %s", failure, str(error) or type(error).__name__)
        raise UndecidedError from error
