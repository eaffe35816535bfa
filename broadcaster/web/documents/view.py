"""The content of one document: some channels, some operations, and how callers identify. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from broadcaster.core.access.presented import TICKET_PARAM
from broadcaster.core.channel import Channel
from broadcaster.web.documents.components import DataSchemas
from broadcaster.web.documents.operation import Json, Needs, Operation, Operations
from broadcaster.web.documents.operations import BEGUN
from broadcaster.web.documents.parameters import STREAM, key_of, key_of_run

TITLE = "Event streams"
LICENSE: Json = {"name": "MIT", "identifier": "MIT"}

_Security: TypeAlias = list[dict[str, list[str]]]

_BEARER, _COOKIE, _TICKET, _OPERATORS = "bearer", "cookie", "ticket", "operators"


@dataclass(frozen=True)
class View:
    """The content of a document.

    Attributes:
        operations: of the application, without the channels' own paths.
        channels: that the caller may see.
        data: the JSON Schemas of the data of their events, by channel and type.
        prefix: the path that the hub is mounted under; empty if it is not.
        origin: the scheme and the host that the caller has used; empty if it does not matter.
        open: the names of channels that every caller may read.
        tokens: the hub reads tokens.
        tickets: it issues tickets.
        cookie: the name of the cookie that may have a token; empty if none may.
        operators_token: operators have a token.
        guarded: a policy decides about callers, so that events can be published, too.
    """

    operations: Operations
    channels: tuple[Channel, ...] = ()
    data: Mapping[str, DataSchemas] = field(default_factory=dict)
    prefix: str = ""
    origin: str = ""
    open: frozenset[str] = frozenset()
    tokens: bool = False
    tickets: bool = False
    cookie: str = ""
    operators_token: bool = False
    guarded: bool = False

    def shown(self) -> Operations:
        """Return the operations that can be used, and those of the channels' own paths."""
        hidden = set[str]()
        if not self.tickets:
            hidden.add("issueTicket")
        if not self.guarded:
            hidden.add("publish")
        found = {
            path: {method: one for method, one in ways.items() if one.name not in hidden}
            for path, ways in self.operations.items()
        }
        own = {channel.path: self._ways_of(channel) for channel in self.channels}
        return {path: ways for path, ways in {**own, **found}.items() if ways}

    def _ways_of(self, channel: Channel) -> dict[str, Operation]:
        """Return the operations of a channel's own path."""
        ways = {"get": self.stream_of(channel)}
        return {**ways, "post": self._begin_of(channel)} if channel.requests else ways

    def _begin_of(self, channel: Channel) -> Operation:
        """Return the operation that begins a run of a channel."""
        json: Json = {"schema": {}, "example": {channel.key_param: "7"}}
        return Operation(
            f"begin.{channel.name}", "streams", f"Begin a run of {channel.name}",
            {201: BEGUN}, (400, 408, 413, 415, 429, 503),
            "A worker answers it. The body is for the worker, and can be any JSON. The run is "
            f"about the key, which may also be the field `{channel.key_param}` of the body.",
            (key_of_run(channel),),
            {"required": True, "content": {"application/json": json}}, self._needs(channel),
        )  # fmt: skip

    def _needs(self, channel: Channel) -> Needs:
        return "" if channel.name in self.open else "rights"

    def stream_of(self, channel: Channel) -> Operation:
        """Return the operation that reads a channel at its own path."""
        text = f"A new client begins at `{channel.start}`."
        if channel.terminal:
            ends = ", ".join(f"`{type_}`" for type_ in sorted(channel.terminal))
            text += f" The event stream of one key ends after {ends}."
        if channel.requests:
            text += " It is made on demand: opening it without a cursor begins a run."
        return Operation(
            f"read.{channel.name}", "streams", f"The event stream of {channel.name}", {},
            text=text, parameters=self._keys(channel) + STREAM, needs=self._needs(channel),
        )  # fmt: skip

    def _keys(self, channel: Channel) -> tuple[Json, ...]:
        return (key_of(channel, by_grant=channel.name not in self.open),)

    @property
    def schemes(self) -> dict[str, Json]:
        """Return the Security Scheme Objects of the hub, by name."""
        found: dict[str, Json] = {}
        if self.tokens:
            found[_BEARER] = {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "A token of an issuer that the hub knows.",
            }  # fmt: skip
        if self.tokens and self.cookie:
            found[_COOKIE] = {
                "type": "apiKey", "in": "cookie", "name": self.cookie,
                "description": "The same token, for pages of the hub's own site.",
            }  # fmt: skip
        if self.tickets:
            found[_TICKET] = {
                "type": "apiKey", "in": "query", "name": TICKET_PARAM,
                "description": "A ticket, for an `EventSource`, which can't send a header.",
            }  # fmt: skip
        if self.operators_token:
            found[_OPERATORS] = {
                "type": "http", "scheme": "bearer", "description": "The token of operators.",
            }  # fmt: skip
        return found

    def refuses(self, operation: Operation) -> bool:
        """Return True if a caller may be refused for what it is."""
        if operation.needs == "operators":
            return self.operators_token
        return self.guarded and bool(operation.needs)

    def security(self, operation: Operation) -> _Security:
        """Return the Security Requirement Objects of an operation: one of them is enough."""
        readers = [name for name in (_BEARER, _COOKIE, _TICKET) if name in self.schemes]
        names = {
            "": [], "some": readers, "rights": readers, "bearer": readers[:1],
            "operators": [_OPERATORS] if self.operators_token else [],
        }[operation.needs]  # fmt: skip
        found: _Security = [{name: []} for name in names]
        anyone = operation.needs == "some" or (operation.needs == "rights" and self.open)
        own_path = operation.name.startswith(("read.", "begin."))
        return [{}, *found] if found and anyone and not own_path else found
