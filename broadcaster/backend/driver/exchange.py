"""Writes many commands at once and reads their replies, without a transaction. Part of `backend`.

redis-py's own pipeline costs three times as much for each reply. It also loses all replies when the
connection breaks half-way, but an acknowledged event must stay acknowledged.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import hiredis
import redis.asyncio.cluster
import redis.cluster
from redis.exceptions import ResponseError

from broadcaster.backend.driver.cluster import looking_anew
from broadcaster.backend.driver.connect import AsyncClient, SyncClient
from broadcaster.backend.driver.errors import TROUBLE, NotSentError

Command: TypeAlias = tuple[Any, ...]


async def exchange(client: AsyncClient, commands: list[Command], replies: list[Any]) -> None:
    """Send commands in order and add their replies as they come, in the same order.

    Args:
        client: made by `connect`.
        commands: the words of each command.
        replies: a reply is appended for each command, and a refusal as an exception. If this raises
            or is cancelled, it has the replies that came before.

    Raises:
        NotSentError: nothing was sent.
        RedisError, OSError: the connection broke. A command without a reply may be executed or not.
    """
    if isinstance(client, redis.asyncio.cluster.RedisCluster):
        # The commands may belong to several nodes. redis-py finds the node of each.
        with looking_anew(client, replies):
            replies.extend(await _pipeline(client, commands).execute(raise_on_error=False))
    else:
        await _exchange(client.connection_pool, commands, replies)


async def replies_to(client: AsyncClient, commands: list[Command]) -> list[Any]:
    """Send commands in one write, and return their replies. They may be read or sent again.

    Raises:
        RedisError, OSError: Redis is away, or has refused one of them. The others may be executed.
    """
    replies = list[Any]()
    try:
        await exchange(client, commands, replies)
    except NotSentError as error:
        raise error.__cause__ or error from None
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def exchange_sync(client: SyncClient, commands: list[Command], replies: list[Any]) -> None:
    """As `exchange`, blocking. The client's timeout is for each reply, not for all of them."""
    if isinstance(client, redis.cluster.RedisCluster):
        with looking_anew(client, replies):
            replies.extend(_pipeline(client, commands).execute(raise_on_error=False))
    else:
        _exchange_sync(client.connection_pool, commands, replies)


async def _exchange(pool: Any, commands: list[Command], replies: list[Any]) -> None:
    try:
        connection = await pool.get_connection()
    except TROUBLE as error:
        raise NotSentError from error
    try:
        async with asyncio.timeout(connection.socket_timeout):
            await connection.send_unhurried(_packed(commands))
            await connection.read_unhurried(len(commands), replies)
    finally:
        # If an await above raised or was cancelled, redis-py has closed the connection. So its next
        # user can't read replies to these commands.
        await pool.release(connection)


def _exchange_sync(pool: Any, commands: list[Command], replies: list[Any]) -> None:
    try:
        connection = pool.get_connection()
    except TROUBLE as error:
        raise NotSentError from error
    try:
        connection.send_packed_command([_packed(commands)])
        for _ in commands:
            # Appended one by one, so that these replies remain if a later one fails.
            replies.append(_reply_sync(connection))  # noqa: PERF401
    except BaseException:
        # Ctrl-C may come between two replies: the next user must not read the rest of them.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _reply_sync(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _packed(commands: list[Command]) -> bytes:
    # redis-py's own packing takes half of the time of a batch.
    return b"".join(map(hiredis.pack_command, commands))


def _pipeline(client: Any, commands: list[Command]) -> Any:
    pipe = client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return pipe
