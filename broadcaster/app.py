"""Composition: makes an ASGI application from settings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeAlias

from broadcaster.backend.log import Log, Requests
from broadcaster.backend.shared_secret import shared_secret
from broadcaster.core.access.by_access import policy_of
from broadcaster.core.access.by_token import ByToken
from broadcaster.core.access.policy import Policy
from broadcaster.core.event import EventId
from broadcaster.core.filter import Filter
from broadcaster.node.listener import Listener, subscribe
from broadcaster.node.node import Node
from broadcaster.settings import Settings, load_settings
from broadcaster.web.documents.merged import merged
from broadcaster.web.redaction import redact_access_log
from broadcaster.web.routes import ClientsApplication
from broadcaster.web.uvicorn.server import ending_responses_on_signals

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]


class Application(ClientsApplication):
    """The hub as an ASGI application, made by `create_app`.

    Attributes:
        operators: an ASGI application with operators' routes (`/metrics`, `/v1/nodes`,
            `/v1/health`) and all details. Serve it where only operators reach it.
    """

    def __init__(self, node: Node) -> None:
        """Make the application of a node, which its lifespan starts and closes."""
        super().__init__(node, _lifespan(node))
        self.state.node = node
        self._node = node
        redact_access_log()

    def subscribe(
        self,
        channels: str | Iterable[str],
        *,
        keys: str | Iterable[str] = (),
        types: str | Iterable[str] = (),
        after: str | EventId | None = None,
        filter: Filter | None = None,
    ) -> Listener:
        """Subscribe in-process. The policy is not asked.

        The listener counts among `max_connections`, and lags like any client if it is slow. It has
        no queue.

        Args:
            channels: one name or several.
            keys: one key or several; none means the events of all keys.
            types: only events of these types; none means all.
            after: where to begin: a `Listener.cursor`, an event's id, or what `from=` can be in a
                query. If not given, each channel's `start` says it.
            filter: a filter of yours, which selects among the events that the others admit. It is
                not asked about terminal events.

        Returns:
            A listener. It begins with `async with`, or with the first value that is asked for.

        Raises:
            UnknownChannelError: one of the channels does not exist.
            InvalidRequestError: no channel is named, or a key is missing or one too many.
            InvalidCursorError: `after` can't be read.
            TypeError: `filter` is no filter, or can't be hashed.
        """
        return subscribe(self._node, channels, keys=keys, types=types, after=after, filter=filter)

    def document_in(self, app: Any, prefix: str, *, channels: Iterable[str] | None = None) -> None:
        """Show the event streams in the OpenAPI document of an application, and so in its `/docs`.

        Args:
            app: a FastAPI application, into which this one is mounted.
            prefix: the path that it is mounted under.
            channels: the names of those that are shown. The document is the same for all callers,
                so without names it has the channels that are listed and public.

        Raises:
            UnknownChannelError: one of the channels does not exist.
        """
        names = None if channels is None else tuple(channels)
        made, hub = app.openapi, self._documents.document(names)
        app.openapi = lambda: merged(made(), hub, prefix)


def create_app(
    settings: Settings | None = None,
    *,
    authorize: Policy | None = None,
    log: Log | None = None,
    requests: Requests | None = None,
) -> Application:
    """Make the hub as an ASGI application.

    To mount it into your own application::

        hub = create_app()
        app = FastAPI(lifespan=hub.router.lifespan_context)
        app.mount("/live", hub)

    Args:
        settings: read from the environment and `BROADCASTER_CONFIG` if not given.
        authorize: decides what a client may read; if not given, the `access` of each channel does.
        log: where the streams are, in the place of Redis; needs no `redis_url`. It is closed with
            the application.
        requests: where requests go for what is made on demand; if not given, to the log, if that
            takes them, else to Redis.

    Returns:
        The application, which is one of Starlette's. A middleware that is added to it with
        `add_middleware` sees all requests but those for event streams, which would take 3 KB more
        of memory each. To see those, too, wrap the application itself: `Middleware(hub)`.

        If `metrics_port` is set, it has no operators' routes (`/metrics`, `/v1/nodes`,
        `/v1/health`). Its attribute `operators`, another ASGI application, has them.
        `broadcaster serve` serves that one on `metrics_port`. Under another server, serve it on a
        port of its own.

    Raises:
        ConfigurationError: the settings can't work.
        TypeError: `authorize` is no function.
    """
    if not (authorize is None or callable(authorize)):
        raise TypeError(f"authorize is a function, not {authorize!r}")
    settings = settings or load_settings()
    return Application(make_node(settings, authorize, log=log, requests=requests))


def make_node(settings: Settings, authorize: Policy | None = None, **parts: Any) -> Node:
    """Make a node that reads tokens, if the settings have keys of tokens.

    Args:
        settings: of the node.
        authorize: decides what a client may read; if not given, the `access` of each channel does.
        parts: further arguments of `Node`.

    Raises:
        ConfigurationError: the settings can't work.
    """
    channels = settings.channels.values()
    if not settings.token_secrets and not settings.token_keys:
        return Node(settings, policy=authorize or policy_of(channels, None), **parts)
    from broadcaster.web.tokens import setup  # PyJWT and cryptography take a tenth of a second

    tokens = ByToken(setup.key_claims(channels))
    tickets = setup.make_tickets(settings, _secret_of(settings))
    make_verifier = partial(setup.make_reader, settings, tickets)
    policy = authorize or policy_of(channels, tokens)
    return Node(settings, policy=policy, make_verifier=make_verifier, **parts)


def _secret_of(settings: Settings) -> Callable[[], Awaitable[bytes]] | None:
    """Return what reads the secret of tickets in Redis; None without Redis."""
    if not settings.redis_url:
        return None
    return partial(shared_secret, settings.redis_url, settings.ticket_key)


def _lifespan(node: Node) -> Lifespan:
    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        if node.draining:
            raise RuntimeError("this hub was shut down: make another one with create_app()")
        node.start()
        try:
            with ending_responses_on_signals(node.end_responses):
                yield {"node": node}
        finally:
            await node.aclose()

    return lifespan
