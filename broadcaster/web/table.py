"""The one table of routes: what is at which path, and in which application.

The clients' application has the event streams. The operators' application reports on the node. If
`metrics_port` is set, each has a port of its own. Otherwise the clients' application has the
operators' routes too, but without details: no addresses, host names, versions or error texts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.web.answers import Replies as Answers
from broadcaster.web.documents import operations as of
from broadcaster.web.documents import upkeep
from broadcaster.web.documents.operation import Operation, Operations

CLIENTS, OPERATORS, APART = "clients", "operators", "apart"
_BOTH = frozenset((CLIENTS, OPERATORS))

Handler: TypeAlias = Callable[[Answers, Request], Awaitable[Response]]


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
    _row("/", _BOTH, Answers.page, of.PAGE),
    _row("/page/token", [CLIENTS], Answers.page_token, of.PAGE_TOKEN, ("POST",)),
    _row("/page/{name}", _BOTH, Answers.module, of.PAGE_MODULE),
    _row("/client.js", _BOTH, Answers.script, of.CLIENT_JS),
    _row("/react.js", _BOTH, Answers.script, of.REACT_JS),
    _row("/openapi.json", _BOTH, Answers.openapi, of.OPENAPI),
    _row("/asyncapi.json", [CLIENTS], Answers.asyncapi, of.ASYNCAPI),
    _row("/docs", _BOTH, Answers.docs, of.DOCS),
    _row("/v1/events", [CLIENTS], None, of.EVENTS),
    _row("/v1/channels", [CLIENTS], Answers.channels, of.CHANNELS),
    _row("/v1/channels/{channel}", [CLIENTS], Answers.channel, of.CHANNEL),
    _row("/v1/channels/{channel}/events", [CLIENTS], Answers.log_page, of.LOG_PAGE),
    _row("/v1/channels/{channel}/state", [CLIENTS], Answers.state, of.STATE),
    _row("/v1/channels/{channel}/events", [CLIENTS], Answers.publish, of.PUBLISH, ("POST",)),
    _row("/v1/runs/{run}", [CLIENTS], Answers.run, of.RUN),
    _row("/v1/runs/{run}/stop", [CLIENTS], Answers.stop, of.STOP_RUN, ("POST",)),
    _row("/v1/tickets", [CLIENTS], Answers.ticket, of.TICKET, ("POST",)),
    _row("/healthz", _BOTH, Answers.healthz, upkeep.HEALTHZ),
    _row("/readyz", _BOTH, Answers.readyz, upkeep.READYZ),
    _row("/metrics", [OPERATORS], Answers.metrics, upkeep.METRICS),
    _row("/v1/nodes", [OPERATORS], Answers.nodes, upkeep.NODES),
    _row("/v1/health", [OPERATORS], Answers.health, upkeep.HEALTH),
    _row("/v1/operations/stream", [OPERATORS], Answers.operations, upkeep.OPERATIONS),
    _row("/v1/revocations", [APART], Answers.revoke, upkeep.REVOKE, ("POST",)),
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
