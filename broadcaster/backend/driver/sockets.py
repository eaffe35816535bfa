"""Connections that are counted, can be closed at any time, and do not lose a cancellation.

Part of `backend.driver`; only `connect` uses it.

redis-py sends each command under `asyncio.wait_for`. Before Python 3.12 that function loses a
cancellation that comes in the same turn of the loop as the end of the sending
(https://github.com/python/cpython/issues/86296). The task goes on, and a shutdown that waits for it
never ends.

redis-py also silently replaces a connection that was closed while it was idle. A proof that
compares two replies needs both from one server, so connections are counted.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from redis.exceptions import ConnectionError as NoConnection

WAIT_FOR_LOSES_CANCELLATIONS = sys.version_info < (3, 12)
NO_PASSWORD = ""
"""The password of a certificate's key.

Without any, OpenSSL would ask for it on the terminal, and the program would wait for a person. An
empty one can't be right for an encrypted key. So connecting fails, until there is a better key.
"""
_CLOSED = "the connection was closed while it was used"


class _Cancellable:
    """Goes in front of a connection class of redis-py."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)  # type: ignore[misc]
        if task and task.cancelling() > asked:
            # redis-py does the same when it is cancelled: the next user must not get the reply.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise asyncio.CancelledError


class _Unhurried:
    """Goes in front of a connection class of redis-py."""

    async def send_unhurried(self, data: bytes) -> None:
        """Send as `send_packed_command` does, without a timeout: the caller has one.

        Before Python 3.12, redis-py's own timeout costs a task for each write, which is a fifth of
        the time of a small read.
        """
        await self.check_health()  # type: ignore[attr-defined]
        writer: asyncio.StreamWriter | None = self._writer  # type: ignore[attr-defined]
        if writer is None:
            raise NoConnection(_CLOSED)
        try:
            writer.write(data)
            await writer.drain()
        except BaseException as error:
            # redis-py does the same: another command must not follow a part of this one.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            if isinstance(error, OSError):
                raise NoConnection(f"while writing: {error}") from error
            raise

    async def read_unhurried(self, count: int, replies: list[Any]) -> None:
        """Append so many replies, with refusals as exceptions. The caller has a timeout.

        For each reply redis-py's own `read_response` takes three times as long.

        Raises:
            RedisError, asyncio.CancelledError: the connection is closed. The replies that came
                before are in the list.
        """
        parser: Any = self._parser  # type: ignore[attr-defined]
        try:
            for _ in range(count):
                replies.append(await parser.read_response())  # noqa: PERF401 -- they stay
        except BaseException as error:
            # redis-py does the same: the next command must not get the rest of these replies.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            if isinstance(error, OSError):
                raise NoConnection(f"while reading: {error}") from error
            raise


class _Counted:
    """Goes in front of a connection class of redis-py.

    Attributes:
        made: the number of connections that all objects of the class have opened.
    """

    made = 0

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[misc]
        type(self).made += 1


class _Renewed:
    """Goes in front of a connection class of redis-py.

    redis-py keeps the certificates that it has read for a connection, also when that connection is
    opened again. The files may have been renewed since.
    """

    async def _connect(self) -> None:
        if tls := getattr(self, "ssl_context", None):
            tls.context = None
            tls.password = tls.password or NO_PASSWORD
        await super()._connect()  # type: ignore[misc]


class _Closable:
    """Goes in front of a connection class of redis-py.

    When a client of a Cluster gives a server up, it closes all connections to it. Other tasks may
    be using them, and get an AttributeError. It becomes a ConnectionError here, so that callers
    know that trying again may help.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except AttributeError as error:
            if self._writer is None:  # type: ignore[attr-defined]
                raise NoConnection(_CLOSED) from error
            raise


def ours(connection_class: type) -> type:
    """Return our subclass of a connection class of redis-py; a new one for each client."""
    mixins: tuple[type, ...] = (_Counted, _Renewed, _Closable, _Unhurried)
    if WAIT_FOR_LOSES_CANCELLATIONS:
        mixins += (_Cancellable,)
    return type(connection_class.__name__, (*mixins, connection_class), {})
