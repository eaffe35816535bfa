"""Connections that are counted, can be closed at any time, and do not lose a cancellation.

Part of `backend`, for `client` alone.

redis-py sends each command under `asyncio.wait_for`. Before Python 3.12 that function forgets a
cancellation that comes in the same turn of the loop in which the sending ends
(https://github.com/python/cpython/issues/86296): the task goes on as if nobody had cancelled it,
and a shutdown that waits for it waits for ever.

redis-py also replaces, without a word, a connection that was closed while nobody used it. What is
proven by comparing two replies needs to know that both came from one server.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from redis.exceptions import ConnectionError as NoConnection

WAIT_FOR_LOSES_CANCELLATIONS = sys.version_info < (3, 12)
_CLOSED = "the connection was closed while it was used"


class _Cancellable:
    """Goes in front of a connection class of redis-py."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)  # type: ignore[misc]
        if task and task.cancelling() > asked:
            # As redis-py does when it is cancelled: the reply must not go to the next user.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise asyncio.CancelledError


class _Unhurried:
    """Goes in front of a connection class of redis-py."""

    async def send_unhurried(self, data: bytes) -> None:
        """As `send_packed_command`, for a caller that has a timeout around all it does.

        redis-py's own costs a task for each write before Python 3.12, a fifth of a small read.
        """
        await self.check_health()  # type: ignore[attr-defined]
        writer: asyncio.StreamWriter | None = self._writer  # type: ignore[attr-defined]
        if writer is None:
            raise NoConnection(_CLOSED)
        try:
            writer.write(data)
            await writer.drain()
        except BaseException as error:
            # As redis-py does: what was sent in part must not go on as something else.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            if isinstance(error, OSError):
                raise NoConnection(f"while writing: {error}") from error
            raise


class _Counted:
    """Goes in front of a connection class of redis-py.

    Attributes:
        made: connections opened, by all objects of the class.
    """

    made = 0

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[misc]
        type(self).made += 1


class _Closable:
    """Goes in front of a connection class of redis-py.

    A client of a Cluster closes all connections to a server that it has given up, in the middle of
    whatever other tasks do with them: an AttributeError, of which nobody knows that it passes.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except AttributeError as error:
            if self._writer is None:  # type: ignore[attr-defined]
                raise NoConnection(_CLOSED) from error
            raise


def ours(connection_class: type) -> type:
    """The class of connections to use instead of one of redis-py; a new one for each client."""
    mixins: tuple[type, ...] = (_Counted, _Closable, _Unhurried)
    if WAIT_FOR_LOSES_CANCELLATIONS:
        mixins += (_Cancellable,)
    return type(connection_class.__name__, (*mixins, connection_class), {})
