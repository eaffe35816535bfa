"""The table of all routes: their paths, their methods, and their applications.

The clients' application has the event streams. The operators' application reports on the node. If
`metrics_port` is set, each has a port of its own. Otherwise the clients' application has the
operators' routes too, but without details: no addresses, host names, versions or error texts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.web.documents import operations as of
from broadcaster.web.documents import upkeep
from broadcaster.web.documents.operation import Operation, Operations
from broadcaster.web.replies import Replies

CLIENTS, OPERATORS, APART = "clients", "operators", "apart"
_BOTH = frozenset((CLIENTS, OPERATORS))

Handler: TypeAlias = Callable[[Replies, Request], Awaitable[Response]]


class TableRow(NamedTuple):
    """One route.

    Attributes:
        path: the path, with `{name}` for a variable segment.
        applications: `CLIENTS`, `OPERATORS`, or both. `APART` is for operators, too, but it is on
            clients' port only if it needs `operators_token`, since it changes something.
        methods: the methods that are allowed.
        answer: the method that answers; None for an event stream.
        operation: what the documents say of it.
    """

    path: str
    applications: frozenset[str]
    methods: tuple[str, ...]
    answer: Handler | None
    operation: Operation


def _row(
    path: str,
    applications: Iterable[str],
    answer: Handler | None,
    operation: Operation,
    methods: tuple[str, ...] = ("GET", "HEAD"),
) -> TableRow:
    return TableRow(path, frozenset(applications), methods, answer, operation)


TABLE = (
    _row("/", _BOTH, Replies.page, of.PAGE),
    _row("/page/token", [CLIENTS], Replies.page_token, of.PAGE_TOKEN, ("POST",)),
    _row("/page/{name}", _BOTH, Replies.module, of.PAGE_MODULE),
    _row("/client.js", _BOTH, Replies.script, of.CLIENT_JS),
    _row("/react.js", _BOTH, Replies.script, of.REACT_JS),
    _row("/openapi.json", _BOTH, Replies.openapi, of.OPENAPI),
    _row("/asyncapi.json", [CLIENTS], Replies.asyncapi, of.ASYNCAPI),
    _row("/docs", _BOTH, Replies.docs, of.DOCS),
    _row("/v1/events", [CLIENTS], None, of.EVENTS),
    _row("/v1/channels", [CLIENTS], Replies.channels, of.CHANNELS),
    _row("/v1/channels/{channel}", [CLIENTS], Replies.channel, of.CHANNEL),
    _row("/v1/channels/{channel}/events", [CLIENTS], Replies.log_page, of.LOG_PAGE),
    _row("/v1/channels/{channel}/state", [CLIENTS], Replies.state, of.STATE),
    _row("/v1/channels/{channel}/events", [CLIENTS], Replies.publish, of.PUBLISH, ("POST",)),
    _row("/v1/runs/{run}", [CLIENTS], Replies.run, of.RUN),
    _row("/v1/runs/{run}/stop", [CLIENTS], Replies.stop, of.STOP_RUN, ("POST",)),
    _row("/v1/tickets", [CLIENTS], Replies.ticket, of.TICKET, ("POST",)),
    _row("/healthz", _BOTH, Replies.healthz, upkeep.HEALTHZ),
    _row("/readyz", _BOTH, Replies.readyz, upkeep.READYZ),
    _row("/metrics", [OPERATORS], Replies.metrics, upkeep.METRICS),
    _row("/v1/nodes", [OPERATORS], Replies.nodes, upkeep.NODES),
    _row("/v1/health", [OPERATORS], Replies.health, upkeep.HEALTH),
    _row("/v1/operations/stream", [OPERATORS], Replies.operations, upkeep.OPERATIONS),
    _row("/v1/revocations", [APART], Replies.revoke, upkeep.REVOKE, ("POST",)),
)
"""All routes except the channels' own paths, which are event streams for clients.

A path may have several rows, for different methods, in the same applications."""


def operations_of(*applications: str) -> Operations:
    """Return what the documents say of the routes that are in one of these applications."""
    found: dict[str, dict[str, Operation]] = {}
    for row in TABLE:
        if row.applications & set(applications):
            found.setdefault(row.path, {})[row.methods[0].lower()] = row.operation
    return found
