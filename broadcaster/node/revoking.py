"""Knows which tokens were revoked, and ends the event streams that were opened with them.

Revocations come in a Redis stream. While Redis is away, the last known ones count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence

from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.revocations import RevocationStream, Revoked
from broadcaster.core.access.grants import Holder
from broadcaster.core.access.revocations import Revocations
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.wire import Ending
from broadcaster.errors import ConfigurationError
from broadcaster.node.expiry import End
from broadcaster.settings import Settings

_AT_ONCE = 1000
_TIMEOUT_S = 3.0  # above the BLOCK of a read


class Revoking:
    """The revocations of one node.

    Attributes:
        known: the revocations that were read until now.
        read: set once the stream was read to its end, or if there is none.
    """

    def __init__(self, settings: Settings, subscribers: Collection[Subscriber], end: End) -> None:
        """Store the arguments. Nothing is read before `follow`.

        Args:
            settings: name Redis, the stream, and for how long revocations count.
            subscribers: of the hub, which changes them.
            end: ends responses.
        """
        self.known = Revocations()
        self.read = asyncio.Event()
        self.read.set()
        self._settings = settings
        self._subscribers = subscribers
        self._end = end
        self._client: AsyncClient | None = None
        self._stream: RevocationStream | None = None

    @property
    def problem(self) -> str:
        """Return why revocations can't be read now; empty if they can."""
        return self._stream.problem if self._stream else ""

    def start(self) -> None:
        """Connect to the stream, if the settings name one. It is not read yet."""
        url, key = self._settings.redis_url, self._settings.revocations_key
        if url and key:
            self._client = connect(url, timeout_s=_TIMEOUT_S, client_name="broadcaster")
            self._stream = RevocationStream(self._client, key)
            self.read = self._stream.read

    async def follow(self) -> None:
        """Read the stream, and end streams of revoked tokens as they become known."""
        if self._stream:
            await self._stream.follow(self._note)

    def concerns(self, holder: Holder | None) -> bool:
        """Return True if the token of a stream's holder was revoked."""
        if holder is None:
            return False
        concerns, issued_s = self.known.concerns, holder.issued_s
        of_grants = concerns(holder.subject, holder.token_id, issued_s)
        return of_grants or concerns(holder.token_subject, "", issued_s)

    async def revoke(self, name: str) -> Revoked:
        """Revoke the tokens of a subject, or one token by its id, on all nodes.

        Raises:
            InvalidRequestError: the name is empty or too long.
            BackendUnavailableError: Redis is away. Call again.
            ConfigurationError: this hub has no stream of revocations, or Redis refuses it for good.
        """
        if self._stream is None:
            raise ConfigurationError("this hub has no Redis stream of revocations")
        return await self._stream.revoke(name, self._settings.revocation_s)

    async def _note(self, found: Sequence[tuple[str, int]]) -> None:
        new = [name for name, at_ms in found if self.known.add(name, at_ms)]
        if not new:
            return
        self.known.forget(int((time.time() - self._settings.revocation_s) * 1000))
        every = list(self._subscribers)
        for start in range(0, len(every), _AT_ONCE):
            some = every[start : start + _AT_ONCE]
            self._end([one for one in some if self.concerns(one.holder)], Ending.REVOKED)
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.aclose()
