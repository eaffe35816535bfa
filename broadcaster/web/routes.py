"""The two applications that are made of the table of routes, for clients and for operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from hmac import compare_digest
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan, Message, Receive, Scope, Send

from broadcaster.core.access.policy import Denied
from broadcaster.core.access.presented import bearer
from broadcaster.core.channel import KEY_IN_PATH
from broadcaster.errors import InvalidRequestError
from broadcaster.settings import Settings
from broadcaster.web import endpoint, head, showcase
from broadcaster.web.access.callers import caller_of
from broadcaster.web.body import lingering, may_be_long
from broadcaster.web.documents.served import Documents
from broadcaster.web.hosts import LOOPBACK, Hosts
from broadcaster.web.paths import Paths
from broadcaster.web.problem import AnsweredError, SafeResponse, problem, refused
from broadcaster.web.publishing.endpoint import publish
from broadcaster.web.replies import Replies
from broadcaster.web.serving import ServedNode
from broadcaster.web.table import APART, CLIENTS, OPERATORS, TABLE, operations_of

# A balancer or a kubelet asks these by the address of the node. They have no secrets.
_PROBES = ("/healthz", "/readyz")

Responder: TypeAlias = Callable[[Request], Awaitable[Response]]
_Endpoint: TypeAlias = Callable[[Scope, Receive, Send, str | None], Awaitable[None]]


class ClientsApplication(Starlette):
    """Clients' application, with operators' routes if these have no port of their own.

    It hands event streams straight to their endpoint, past middleware that was added to it.
    Starlette's layers would keep a suspended coroutine each for as long as a client is connected:
    3 KB. It publishes without them as well, because they take as long as reading an event, but only
    if no middleware was added. Middleware sees all other requests.

    Attributes:
        operators: operators' application, with all details. It must not be public.
    """

    operators: Starlette

    def __init__(self, node: ServedNode, lifespan: Lifespan[Any]) -> None:
        """Make it of the table.

        Args:
            node: that it serves.
            lifespan: starts and closes the node.
        """
        token = node.settings.operators_token
        shown = {CLIENTS} if node.settings.metrics_port else {CLIENTS, OPERATORS}
        if node.settings.operators_token and OPERATORS in shown:
            shown.add(APART)
        documents = self._documents = Documents(node, operations_of(CLIENTS))
        # What needs the operators' token may have details here, too.
        about = showcase.About(channels=True, operations=OPERATORS in shown)
        replies = Replies(node, documents, about, details=bool(token))
        super().__init__(
            routes=list(_routes(replies, shown, token)),
            exception_handlers={
                404: _not_found,
                405: _not_allowed,
                AnsweredError: _answered,
            },
            lifespan=lifespan,
        )
        self.operators = operators(node)
        self._served, self._settings = node, node.settings
        self._hosts = Hosts(node.settings.allowed_hosts)
        streams = endpoint.endpoints(node, node.settings.channels.values())
        self._paths = Paths(streams)
        self._exact = {path: stream for path, stream in streams.items() if KEY_IN_PATH not in path}
        self._published = {f"/v1/channels/{name}/events": name for name in node.settings.channels}
        # A redirect would name the scheme that the proxy used, not the client's.
        self.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        if scope["method"] == "POST" and may_be_long(scope):
            receive, send = lingering(scope, receive, send)
        found = self._find(scope)
        if (refused := self._hosts.refusal(scope)) and scope["path"] not in _PROBES:
            await problem(*refused)(scope, receive, send)
        elif scope["method"] == "OPTIONS" and head.is_preflight(self._settings, scope):
            await _preflight(self._settings, scope)(scope, receive, send)
        elif found:
            stream, key = found
            await stream(scope, receive, send, key)
        else:
            await super().__call__(scope, receive, self._with_cors(scope, send))

    def _find(self, scope: Scope) -> tuple[_Endpoint, str | None] | None:
        # The usual case: nothing is encoded, and the hub is not mounted under a prefix.
        is_plain = b"%" not in (scope.get("raw_path") or b"%") and not scope.get("root_path")
        if is_plain and (stream := self._exact.get(scope["path"])):
            return stream, None
        if is_plain and scope["method"] == "POST" and scope["path"] in self._published:
            return None if self.user_middleware else (self._publish, None)
        try:
            return self._paths.find(head.segments(scope))
        except InvalidRequestError:  # not UTF-8, so no stream has this path
            return None

    async def _publish(self, scope: Scope, receive: Receive, send: Send, _: str | None) -> None:
        guarded = ServerErrorMiddleware(self._published_answer)  # as around all other answers
        await guarded(scope, receive, self._with_cors(scope, send))

    async def _published_answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        channel = self._published[scope["path"]]
        await (await publish(self._served, Request(scope, receive), channel))(scope, receive, send)

    def _with_cors(self, scope: Scope, send: Send) -> Send:
        cors = head.cors_headers(self._settings, scope)
        return _with_headers(cors, send) if cors else send


def _with_headers(headers: Iterable[tuple[bytes, bytes]], send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_with_headers


def _preflight(settings: Settings, scope: Scope) -> Response:
    response: Response
    headers, refused = head.preflight(settings, scope)
    if refused:
        response = problem(400, f"cors_origins and cors_headers do not allow {', '.join(refused)}")
    else:
        response = SafeResponse("OK", media_type="text/plain")
    response.raw_headers += headers
    return response


class _OperatorsApplication(Starlette):
    """Operators' application."""

    hosts: Hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        refused = self.hosts.refusal(scope) if scope["type"] == "http" else None
        if refused:
            await problem(*refused)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def operators(node: ServedNode) -> Starlette:
    """Make the operators' application, with all details. It must not be public."""
    token = node.settings.operators_token
    documents = Documents(node, operations_of(OPERATORS, APART), channels=False)
    about = showcase.About(channels=False, operations=True)
    replies = Replies(node, documents, about, details=True)
    app = _OperatorsApplication(
        routes=list(_routes(replies, {OPERATORS, APART}, token)),
        exception_handlers={404: _not_of_operators, 405: _not_allowed},
    )
    app.router.redirect_slashes = False
    # Prometheus asks by address. Only a page of another site would ask this machine by a name.
    allowed = node.settings.allowed_hosts
    app.hosts = Hosts(allowed if allowed == LOOPBACK else ())
    return app


def _routes(replies: Replies, applications: set[str], token: str) -> Iterator[Route]:
    ways: dict[str, dict[str, Responder]] = {}
    for row in TABLE:
        if row.answer and row.applications & applications:
            answer: Responder = partial(row.answer, replies)
            if token and row.applications <= {OPERATORS, APART}:
                answer = partial(_with_token, answer, token.encode())
            ways.setdefault(row.path, {}).update(dict.fromkeys(row.methods, answer))
    for path, by_method in ways.items():
        # One route for a path, so that a refusal of other methods names all of them.
        yield Route(path, partial(_by_method, by_method), methods=list(by_method))


async def _by_method(answers: Mapping[str, Responder], request: Request) -> Response:
    return await answers[request.method](request)


async def _with_token(answer: Responder, token: bytes, request: Request) -> Response:
    given = bearer(caller_of(request.scope)).encode(errors="replace")
    if compare_digest(given, token):
        return await answer(request)
    return refused(Denied("this is for operators, who have operators_token", 401))


async def _not_found(request: Request, _: Exception | None) -> Response:
    return problem(404, f"nothing is at {request.url.path[:200]!r}; / shows what there is")


async def _not_of_operators(request: Request, _: Exception | None) -> Response:
    known = ", ".join(row.path for row in TABLE if row.applications & {OPERATORS, APART})
    return problem(404, f"nothing is at {request.url.path[:200]!r}; there are: {known}")


async def _answered(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnsweredError)
    return error.response


async def _not_allowed(_: Request, error: Exception) -> Response:
    headers: Mapping[str, str] | None = getattr(error, "headers", None)
    allowed = (headers or {}).get("Allow", "another method")
    return problem(405, f"this resource takes {allowed}", dict(headers or {}))
