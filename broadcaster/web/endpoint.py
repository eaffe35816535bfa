"""The event stream endpoint: admits a request, then serves it as a subscriber."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broadcaster.core import access as policies
from broadcaster.core.access import Denied
from broadcaster.core.by_access import is_public
from broadcaster.core.channel import Channel
from broadcaster.core.opening import Gone, NoContent, Opening, Refused, Serve, Verdict, WhyShed
from broadcaster.core.places import Owners
from broadcaster.core.steps import Ask, Wait
from broadcaster.core.subscription import Granted
from broadcaster.core.turns import Reader, network
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Ending, Exceeded, Shed, SinkKind
from broadcaster.errors import (
    BroadcasterError,
    ConfigurationError,
    InvalidCursorError,
    InvalidRequestError,
    UnknownChannelError,
)
from broadcaster.web import access, head
from broadcaster.web.connection import Connection
from broadcaster.web.dialects import native
from broadcaster.web.problem import (
    EVENT_STREAM,
    SafeResponse,
    come_back,
    event_stream,
    problem,
    unknown_channel,
)
from broadcaster.web.serving import ServedNode
from broadcaster.web.sink import AsgiSink, Sink, TransportSink
from broadcaster.web.uvicorn.offer import EXTENSION, TransportRefusedError

logger = logging.getLogger(__name__)


class EventStream:
    """The ASGI endpoint of one channel's path, or of `/v1/events` for several channels."""

    def __init__(self, node: ServedNode, channel: Channel | None = None) -> None:
        self._node = node
        self._channel = channel
        listed = {name: one for name, one in node.settings.channels.items() if one.listed}
        self._channels = node.settings.channels if channel else listed
        # A channel that is public beside others that are not costs no question.
        is_open = channel is not None and is_public(node.policy, channel.name)
        self._asks = node.policy is not policies.public and not is_open
        settings = node.settings
        self._most = native.Most(settings.max_keys, settings.max_channels, settings.max_query_bytes)

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, key: str | None = None
    ) -> None:
        """Answer a request with an event stream, 204, or a problem.

        Args:
            scope: the request's ASGI scope.
            receive: ASGI's `receive`.
            send: ASGI's `send`.
            key: the key in the path, if the channel's path has one.
        """
        attachable = _is_attachable(scope)
        answer = await self._answer(scope, key)
        if isinstance(answer, Serve) and self._node.revoking.concerns(answer.holder):
            # It was revoked after the policy was asked. No await follows before the hub has the
            # subscriber, and of those that it has, a later revocation ends the streams.
            answer = access.refused(Denied("the token was revoked", 401))
        if isinstance(answer, Response):
            answer.raw_headers += head.cors_headers(self._node.settings, scope)
            if "connection" not in answer.headers:
                answer.raw_headers += head.kept_alive(scope)
            await answer(scope, receive, send)
        elif not attachable or _is_attachable(scope):  # else the client has disconnected meanwhile
            limits = self._node.limits
            if not limits.counts:
                await self._serve(answer, scope, receive, send)
                return
            # There is no `await` since `why_shed` was asked, so the place is still there.
            limits.take(_owners(scope, answer))
            try:
                await self._serve(answer, scope, receive, send)
            finally:
                limits.free(_owners(scope, answer))  # made again, so that no stream keeps them

    async def _answer(self, scope: Scope, key: str | None) -> Serve | Response:
        """Return where a client begins, or the response that it gets instead of a stream."""
        if scope["method"] not in ("GET", "HEAD"):
            return problem(405, "an event stream is read with GET", {"allow": "GET, HEAD"})
        node, now_ms = self._node, self._node.clock.now_ms()
        at = scope, self._channels, self._channel, key or "", now_ms
        read = partial(native.read, *at, most=self._most)
        try:
            if self._asks:
                return await self._permitted(scope, now_ms, read(None), read)
            return await self._admitted(scope, now_ms, read())
        except native.ExceededError as error:
            node.meters.exceeded[error.limit] += 1
            return problem(414 if error.limit is Exceeded.QUERY else 400, str(error))
        except (InvalidRequestError, InvalidCursorError) as error:
            return problem(400, str(error))
        except UnknownChannelError as error:
            return unknown_channel(error, node.policy)

    async def _permitted(
        self, scope: Scope, now_ms: int, wanted: Wanted, read: Callable[[Granted], Wanted]
    ) -> Serve | Response:
        """Ask the policy, and then decide whether a client is served."""
        found = await access.permitted(self._node, scope, wanted, read)
        if isinstance(found, Shed):
            return self._refusal(found, wanted, scope)
        if isinstance(found, Response):
            return found
        anew = partial(self._permitted, scope, now_ms, read=read)
        return await self._admitted(scope, now_ms, found, anew)

    async def _admitted(
        self,
        scope: Scope,
        now_ms: int,
        wanted: Wanted,
        anew: Callable[[Wanted], Awaitable[Serve | Response]] | None = None,
    ) -> Serve | Response:
        """Decide whether a client is served. A new run is another request, so `anew` is called."""
        if scope["method"] == "HEAD":  # opens no stream, and starts no run
            return event_stream(b"")
        answer = await self._admit(scope, now_ms, wanted)
        if isinstance(answer, Gone):
            renewed = wanted.anew()
            return await (anew(renewed) if anew else self._admitted(scope, now_ms, renewed))
        return answer if isinstance(answer, Serve) else self._refusal(answer, wanted, scope)

    async def _admit(self, scope: Scope, now_ms: int, wanted: Wanted) -> Verdict:
        """Decide whether a client is served.

        Awaits only if the windows do not hold the answer.
        """
        node = self._node
        why_shed: WhyShed = node.why_shed
        if node.limits.counts:
            why_shed = partial(node.why_shed, owners=_owners(scope, wanted))
        opening = Opening(node.hub.context, why_shed, wanted, now_ms)
        step = opening.step()
        if not isinstance(step, Ask | Wait):
            return step
        load = partial(node.loaded, wanted.subscription.streams)
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

    def _refusal(
        self, admitted: Refused | Shed | NoContent, wanted: Wanted, scope: Scope
    ) -> Response:
        if isinstance(admitted, Refused):
            return problem(400, admitted.detail)
        if isinstance(admitted, NoContent):
            return SafeResponse(status_code=204)
        self._node.meters.shed[admitted] += 1
        mean_ms = self._node.settings.shed_retry_ms
        retry_ms = random.randint(mean_ms // 2, mean_ms * 3 // 2)
        return come_back(retry_ms, admitted, wanted.cursor, close=scope["http_version"] < "2")

    async def _serve(self, serve: Serve, scope: Scope, receive: Receive, send: Send) -> None:
        # There is no `await` before the hub knows the client, so no drain can begin meanwhile.
        settings, node = self._node.settings, self._node
        retry_ms = random.randint(settings.retry_min_ms, settings.retry_max_ms)
        opened_s, reason = time.monotonic(), Ending.ERROR
        resumed = serve.resumed or serve.unreadable is not None
        self._log("stream opened", scope, serve, resumed=resumed)
        sink = self._sink(scope, receive, send)
        connection = Connection(
            node.hub,
            node.questions,
            sink,
            serve,
            retry_ms,
            page_bytes=settings.high_water_bytes,
            client=scope.get("client"),
            pacing=node.limits.pacing,
        )
        try:
            reason = await connection.run(settings.send_timeout_s)
        finally:
            node.meters.closed[reason] += 1
            open_s = round(time.monotonic() - opened_s, 1)
            self._log("stream closed", scope, serve, reason=reason, open_s=open_s)
            await sink.finish()

    def _log(self, text: str, scope: Scope, serve: Serve, **fields: object) -> None:
        # The path without the query, because the query may carry tokens.
        if self._node.settings.access_log and logger.isEnabledFor(logging.INFO):
            client = head.client_address(scope)
            channels = ",".join(serve.subscription.streams)
            seen = {"client": client, "path": scope["path"], "channels": channels}
            logger.info(text, extra={"fields": seen | fields})

    def _sink(self, scope: Scope, receive: Receive, send: Send) -> Sink:
        settings, opened = self._node.settings, self._node.meters.opened
        attach = scope.get("extensions", {}).get(EXTENSION)
        headers = [*EVENT_STREAM, *head.kept_alive(scope)]
        if settings.cors_origins:
            headers += head.cors_headers(settings, scope)
        if attach is not None:
            try:
                sink = TransportSink(
                    attach, scope, send, headers, settings.high_water_bytes, settings.send_timeout_s
                )
            except TransportRefusedError as error:
                if not opened[SinkKind.ASGI]:
                    logger.warning("event streams go through ASGI, which is slower: %s", error)
            else:
                opened[SinkKind.TRANSPORT] += 1
                return sink
        opened[SinkKind.ASGI] += 1
        return AsgiSink(receive, send, headers, settings.send_timeout_s)


def _owners(scope: Scope, of: Wanted | Serve) -> Owners:
    return Owners(network(scope.get("client")), of.holder.subject if of.holder else "")


def _is_attachable(scope: Scope) -> bool:
    """Return True if our protocol offers its transport. It takes the offer back on disconnect."""
    return EXTENSION in scope.get("extensions", {})


def endpoints(node: ServedNode, channels: Iterable[Channel]) -> dict[str, EventStream]:
    """Return the endpoint of each path."""
    return {
        **{channel.path: EventStream(node, channel) for channel in channels},
        "/v1/events": EventStream(node),
    }
