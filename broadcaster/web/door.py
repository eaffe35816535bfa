"""Decides about a request that reads channels: the same for each way in which they can be read."""

from __future__ import annotations

import logging
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from starlette.responses import Response

from broadcaster.core.access.policy import Denied
from broadcaster.core.access.stream_counts import Owners
from broadcaster.core.fanout.turns import Reader, network
from broadcaster.core.resume.opening import (
    Gone,
    NoContent,
    Opening,
    Refused,
    Serve,
    Verdict,
    WhyShed,
)
from broadcaster.core.resume.steps import Ask, Wait
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Exceeded, Shed
from broadcaster.errors import (
    BroadcasterError,
    ConfigurationError,
    InvalidCursorError,
    InvalidRequestError,
    UnknownChannelError,
)
from broadcaster.web.access.decisions import permitted
from broadcaster.web.dialects import native
from broadcaster.web.problem import problem, refused, unknown_channel
from broadcaster.web.serving import ServedNode

_CROWDED = frozenset({Shed.ADDRESS, Shed.SUBJECT, Shed.RATE, Shed.REQUESTS})

logger = logging.getLogger(__name__)


class Door(ABC):
    """Admits requests that read channels, or says why one is not admitted.

    Subclasses give the answers that differ: to `HEAD`, to trouble that passes, and at the end of a
    subscription.
    """

    def __init__(self, node: ServedNode) -> None:
        """Decide with a node's policy, limits and log."""
        self._node = node
        settings = node.settings
        self._most = native.Most(settings.max_keys, settings.max_channels, settings.max_query_bytes)

    @abstractmethod
    def _head(self) -> Response:
        """Return the answer to a `HEAD` request that may be served. It opens nothing."""

    @abstractmethod
    def _sent_away(self, reason: Shed, retry_ms: int, wanted: Wanted, scope: Any) -> Response:
        """Return the answer to a client that should come back in `retry_ms`."""

    @abstractmethod
    def _over(self, wanted: Wanted) -> Response:
        """Return the answer to a client that has seen the end of what it subscribes to."""

    async def _admitted(
        self, scope: Any, now_ms: int, read: Callable[..., Wanted], *, asks: bool
    ) -> Serve | Response:
        """Return where a client begins, or the answer that it gets instead.

        After a `Serve`, register the client before the next `await`: its place and its rights are
        known for this turn of the event loop.

        Args:
            scope: the request's ASGI scope.
            now_ms: milliseconds since 1970.
            read: reads the request, with what is granted; see `Subscription.to`.
            asks: True if the policy is to be asked.
        """
        try:
            if asks:
                return await self._permitted(scope, now_ms, read(None), read)
            return await self._opened(scope, now_ms, read())
        except (InvalidRequestError, InvalidCursorError) as error:
            return self._wrong(error)
        except UnknownChannelError as error:
            return unknown_channel(error, self._node.policy)

    def _wrong(self, error: InvalidRequestError | InvalidCursorError) -> Response:
        """Return the answer to a request that would fail again, and count the limit it exceeds."""
        if not isinstance(error, native.ExceededError):
            return problem(400, str(error))
        self._node.meters.exceeded[error.limit] += 1
        return problem(414 if error.limit is Exceeded.QUERY else 400, str(error))

    async def _permitted(
        self, scope: Any, now_ms: int, wanted: Wanted, read: Callable[..., Wanted]
    ) -> Serve | Response:
        """Ask the policy, and then decide whether a client is served."""
        found = await permitted(self._node, scope, wanted, read)
        if isinstance(found, Shed):
            return self._refusal(found, wanted, scope)
        if isinstance(found, Response):
            return found
        anew = partial(self._permitted, scope, now_ms, read=read)
        return await self._opened(scope, now_ms, found, anew)

    async def _opened(
        self,
        scope: Any,
        now_ms: int,
        wanted: Wanted,
        anew: Callable[[Wanted], Awaitable[Serve | Response]] | None = None,
    ) -> Serve | Response:
        """Decide whether a client is served. A new run is another request, so `anew` is called."""
        if scope["method"] == "HEAD":  # opens nothing, and starts no run
            return self._head()
        answer = await self._verdict(scope, now_ms, wanted)
        if isinstance(answer, Gone):
            renewed = wanted.anew()
            return await (anew(renewed) if anew else self._opened(scope, now_ms, renewed))
        if not isinstance(answer, Serve):
            return self._refusal(answer, wanted, scope)
        if answer.holder and self._node.revoking.concerns(answer.holder):
            # It was revoked after the policy was asked. No await follows before the hub has the
            # subscriber, and of those that it has, a later revocation ends the streams.
            return refused(Denied("the token was revoked", 401))
        return answer

    async def _verdict(self, scope: Any, now_ms: int, wanted: Wanted) -> Verdict:
        """Decide whether a client is served.

        Awaits only if the windows do not hold the answer.
        """
        node = self._node
        why_shed: WhyShed = node.why_shed
        if node.limits.counts:
            why_shed = partial(node.why_shed, owners=owners(scope, wanted))
        opening = Opening(node.hub.context, why_shed, wanted, now_ms)
        step = opening.step()
        if not isinstance(step, Ask | Wait):
            return step
        load = partial(self._loaded, wanted.subscription.streams)
        reader = Reader(network(scope.get("client")))
        try:
            return await node.questions.open(opening, step, load, reader)
        except ConfigurationError as error:
            # It stays until an operator acts, but the client could not help it: no 5xx, which would
            # end an EventSource for good.
            logger.error("a newcomer is shed, and all others will be: %s", error)
            return Shed.REFUSED
        except BroadcasterError as error:
            logger.warning("a newcomer is shed: %s", error)
            return Shed.REDIS

    async def _loaded(self, streams: Iterable[str]) -> bool:
        """Wait a moment for windows that are still loading. Return True if all are loaded."""
        return await self._node.loaded(streams)

    def _refusal(self, found: Refused | Shed | NoContent, wanted: Wanted, scope: Any) -> Response:
        if isinstance(found, Refused):
            return problem(400, found.detail)
        if isinstance(found, NoContent):
            return self._over(wanted)
        return self._shed(found, wanted, scope)

    def _shed(self, reason: Shed, wanted: Wanted, scope: Any) -> Response:
        """Count a client that is sent away for now, and return its answer."""
        self._node.meters.shed[reason] += 1
        mean_ms = self._node.settings.shed_retry_ms
        retry_ms = random.randint(mean_ms // 2, mean_ms * 3 // 2)
        return self._sent_away(reason, retry_ms, wanted, scope)


def owners(scope: Any, of: Wanted | Serve) -> Owners:
    """Return the owners of what a request opens."""
    return Owners(network(scope.get("client")), of.holder.subject if of.holder else "")


def come_back_later(reason: Shed, retry_ms: int, scope: Any) -> Response:
    """Return 429 or 503, for trouble that passes, to a client that is no `EventSource`."""
    headers = {"retry-after": str(math.ceil(retry_ms / 1000)), **closing(scope)}
    return problem(429 if reason in _CROWDED else 503, reason.text, headers)


def closing(scope: Any) -> dict[str, str]:
    """Return the header that lets a balancer of connections choose a node anew."""
    return {"connection": "close"} if scope["http_version"] < "2" else {}
