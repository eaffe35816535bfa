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

from broadcaster.web.answers import Answers

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
    """

    path: str
    applications: frozenset[str]
    methods: tuple[str, ...]
    answer: Handler | None


def _row(
    path: str,
    applications: Iterable[str],
    answer: Handler | None,
    methods: tuple[str, ...] = ("GET", "HEAD"),
) -> TableRow:
    return TableRow(path, frozenset(applications), methods, answer)


TABLE = (
    _row("/", [CLIENTS], Answers.page),
    _row("/client.js", _BOTH, Answers.script),
    _row("/react.js", _BOTH, Answers.script),
    _row("/v1/events", [CLIENTS], None),
    _row("/v1/channels", [CLIENTS], Answers.channels),
    _row("/v1/channels/{channel}", [CLIENTS], Answers.channel),
    _row("/v1/channels/{channel}/events", [CLIENTS], Answers.publish, ("POST",)),
    _row("/v1/tickets", [CLIENTS], Answers.ticket, ("POST",)),
    _row("/healthz", _BOTH, Answers.healthz),
    _row("/readyz", _BOTH, Answers.readyz),
    _row("/metrics", [OPERATORS], Answers.metrics),
    _row("/v1/nodes", [OPERATORS], Answers.nodes),
    _row("/v1/health", [OPERATORS], Answers.health),
    _row("/v1/revocations", [APART], Answers.revoke, ("POST",)),
)
"""All routes except the channels' own paths, which are event streams for clients."""
