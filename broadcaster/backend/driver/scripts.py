"""Runs Lua scripts by their hashes, so that a script is sent once. Part of `backend.driver`.

Redis forgets its scripts when it restarts, and a failover may lead to one that never had them. Then
it executes nothing, and the script is sent whole. So it is where only `EVAL` is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import NotSentError, translated, translating
from broadcaster.backend.driver.exchange import Command, exchange

_UNKNOWN = NoScriptError, NoPermissionError


async def call(client: AsyncClient, script: str, words: Command, doing: str) -> Any:
    """Run a script, and return its reply.

    Args:
        client: has no retries.
        script: in Lua. It may be run twice if it lacks a right.
        words: the number of its keys, the keys, and its arguments.
        doing: what the caller does, for errors.

    Raises:
        BackendUnavailableError: Redis is away. The script may have been run.
        ConfigurationError: Redis refuses for good.
    """
    with translating(doing):
        try:
            return await client.execute_command("EVALSHA", _hash(script), *words)
        except _UNKNOWN:
            return await client.execute_command("EVAL", script, *words)


async def call_each(
    client: AsyncClient, script: str, calls: Sequence[Command], doing: str
) -> list[Any]:
    """Run a script several times in one pipeline.

    Args:
        client: as for `call`.
        script: as for `call`.
        calls: the words of each, as for `call`.
        doing: as for `call`.

    Returns:
        The reply to each, or the error that `call` would raise.

    Raises:
        BackendUnavailableError, ConfigurationError: as `call`, for all of them.
    """
    replies = await _replies(client, [("EVALSHA", _hash(script), *words) for words in calls], doing)
    unknown = [n for n, reply in enumerate(replies) if isinstance(reply, _UNKNOWN)]
    if unknown:
        again = [("EVAL", script, *calls[n]) for n in unknown]
        for n, reply in zip(unknown, await _replies(client, again, doing), strict=True):
            replies[n] = reply
    return [translated(one, doing) if isinstance(one, Exception) else one for one in replies]


async def _replies(client: AsyncClient, commands: list[Command], doing: str) -> list[Any]:
    replies = list[Any]()
    try:
        with translating(doing):
            await exchange(client, commands, replies)
    except NotSentError as error:
        raise translated(error.__cause__, doing) from error
    return replies


@cache
def _hash(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
