"""The hub's own events, and all of its reasons, as data. Pure.

Code that writes such an event, or counts or explains a reason, takes the names from here. The
documents and the demo's page repeat the names (docs/wire.md, docs/metrics.md), and a test compares
them with this module.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

VERSION = 1
"""The version of these names and shapes. It grows when one of them changes its meaning or goes."""

RESERVED_PREFIX = "stream."
"""The prefix of the types of the hub's own events. Producers can't use such types."""


class ResetReason(StrEnum):
    """The reason why it can't be proven that a client misses nothing."""

    TRIMMED = "trimmed"
    """The entry of the cursor is older than the window, and Redis has dropped it."""
    ROLLBACK = "rollback"
    """The cursor is newer than the stream: Redis lost its end, or was emptied."""
    UNKNOWN = "unknown"
    """The cursor lies between two entries of the window, and is neither of them."""
    INVALID = "invalid"
    """The cursor can't be read, or names nothing that the client subscribes to."""
    GONE = "gone"
    """The cursor's run is gone, and nothing of it is retained. A new run has begun."""


class ResumeOutcome(StrEnum):
    """The way in which a client that came with a cursor was served."""

    WINDOW = "window"
    """It was served from the node's memory alone."""
    REDIS = "redis"
    """It was sent pages that were read from Redis."""
    STATE = "state"
    """It was sent a state in place of the events that it has missed."""
    RESET = "reset"
    """It was sent a `stream.reset`."""


class Ending(StrEnum):
    """The reason why a response ended."""

    CLIENT = "client"
    """The client is gone."""
    COMPLETE = "complete"
    """Everything was sent, up to a terminal event."""
    DRAIN = "drain"
    """The node ends its responses."""
    SEND_TIMEOUT = "send_timeout"
    """The client took nothing for `send_timeout_s`."""
    GONE = "gone"
    """No worker took the request for its run. The client comes back, and gets a new run."""
    EXPIRED = "expired"
    """The client's grant has ended. It comes back with a new one, or is refused."""
    REVOKED = "revoked"
    """The client's token was revoked. It comes back with a later one, or is refused."""
    CUT = "cut"
    """The connection was cut, because a client that knows no `stream.reset` must begin anew."""
    ERROR = "error"
    """A mistake of ours."""


class Shed(StrEnum):
    """The reason why a newcomer can't be served for now.

    Attributes:
        text: what the comment in its response says.
    """

    text: str

    def __new__(cls, reason: str, text: str) -> Shed:
        """Make a member that equals its reason and also has a text."""
        member = str.__new__(cls, reason)
        member._value_ = reason
        member.text = text
        return member

    DRAINING = "draining", "this node is shutting down"
    FULL = "full", "this node has all the connections it may have"
    ADDRESS = "address", "this address has all the event streams it may have"
    SUBJECT = "subject", "this subject has all the event streams it may have"
    RATE = "rate", "too many clients come at once"
    LOADING = "loading", "this node is still reading its windows"
    REDIS = "redis", "the stream can't be read for now"
    REFUSED = "refused", "the stream can't be served until an operator mends it"
    REQUESTS = "requests", "too many requests wait for an answer"
    ACCESS = "access", "the rights to this stream can't be checked for now"


class Refusal(StrEnum):
    """The reason why a connection is closed before the application answers its request."""

    INVALID = "invalid"
    """The bytes that came are not HTTP/1."""
    HEAD = "head"
    """The head of the request has too many bytes, or too many headers."""
    SLOW = "slow"
    """The request's head was not complete in time."""
    TLS = "tls"
    """The TLS handshake failed, or was not complete in time."""
    BEHIND = "behind"
    """Too much came behind a request that is still being answered."""
    FULL = "full"
    """There were too many connections, and this one had waited longest without a request."""


class Exceeded(StrEnum):
    """A limit that a request exceeds, and would exceed again."""

    KEYS = "keys"
    """It names more keys than `max_keys`."""
    CHANNELS = "channels"
    """It names more channels than `max_channels`."""
    QUERY = "query"
    """Its query is longer than `max_query_bytes`."""


class SinkKind(StrEnum):
    """The way in which the bytes of a response reach its client."""

    TRANSPORT = "transport"
    """The hub writes to uvicorn's transport."""
    ASGI = "asgi"
    """The connection's own task sends them through ASGI."""
    FORMAT = "format"
    """The connection's own task sends the events of one run in the format of another protocol."""


class Field(NamedTuple):
    """A field of the JSON object that is the data of a hub's own event.

    Attributes:
        name: the key in the object.
        type: as JSON Schema names it.
        meaning: for a reader of the documents.
        required: the field is in every such event.
        values: all that it can be; empty if that is no short list.
    """

    name: str
    type: Literal["string", "integer", "boolean"]
    meaning: str
    required: bool = True
    values: tuple[str, ...] = ()


class HubEvent(NamedTuple):
    """An event that the hub itself sends: it is no entry of a stream, and has no key.

    Attributes:
        type: the SSE event name.
        meaning: for a reader of the documents.
        fields: of its data, in the order in which they are written.
    """

    type: str
    meaning: str
    fields: tuple[Field, ...]


AT = HubEvent(
    RESERVED_PREFIX + "at",
    "a position to remember, which is its id; nothing is shown",
    (),
)
EXPIRED = HubEvent(
    RESERVED_PREFIX + "expired",
    "the right to read this has ended, so the response ends; a client that comes back without a "
    "new right is refused",
    (),
)
LIVE = HubEvent(
    RESERVED_PREFIX + "live",
    "everything that the client has missed was sent; what follows is new",
    (Field("replayed", "integer", "events sent in this response before it, or since a reset"),),
)
RESET = HubEvent(
    RESERVED_PREFIX + "reset",
    "it can't be proven that the client misses nothing; it should load its state anew",
    (
        Field("channel", "string", "the channel that it concerns"),
        Field("shard", "integer", "the shard, if the channel has shards", required=False),
        Field("reason", "string", "why", values=tuple(ResetReason)),
        Field("requested", "string", "the position that the client came with"),
        Field("resumed", "string", "the position that it goes on after"),
        Field("state", "boolean", "true: the channel's state follows", required=False),
    ),
)
RESTART = HubEvent(
    RESERVED_PREFIX + "restart",
    "the answer begins anew, by another worker: forget the events of this run that came before",
    (),
)
STATE = HubEvent(
    RESERVED_PREFIX + "state",
    "the state of a channel follows, as events without an id, up to `stream.live`; the client "
    "forgets what it holds of the channel",
    (
        Field("channel", "string", "the channel that it concerns"),
        Field("shard", "integer", "the shard, if the channel has shards", required=False),
        Field("keys", "integer", "the keys that the state has"),
        Field("since", "string", "events up to this position may be missing in it", required=False),
        Field("too_large", "boolean", "true: it is too large, so nothing of it", required=False),
    ),
)
SUPERSEDED = HubEvent(
    RESERVED_PREFIX + "superseded",
    "events were skipped, because newer ones of the same key and type follow; nothing is lost",
    (
        Field("channel", "string", "the channel that it concerns"),
        Field("shard", "integer", "the shard, if the channel has shards", required=False),
        Field("events", "integer", "how many were skipped"),
    ),
)
WAITING = HubEvent(
    RESERVED_PREFIX + "waiting",
    "no worker has the run; it comes every few seconds, until any other event of the run",
    (
        Field("waited_ms", "integer", "for how long no worker has had it"),
        Field("left_ms", "integer", "after this time it ends with `failed`, if no worker takes it"),
    ),
)
EVENTS = (AT, EXPIRED, LIVE, RESET, RESTART, STATE, SUPERSEDED, WAITING)
"""All events of the hub's own."""
