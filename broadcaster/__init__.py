"""Fans Redis Streams out to browsers over Server-Sent Events, on as many nodes as you like.

The layers, lowest first; each imports only those below it:

* `errors`: what can go wrong, for users of any layer;
* `core`: decides. No I/O, no clock, no await;
* `backend`: talks to Redis. `web`: talks ASGI. Neither knows the other;
* `app`: joins them, and `cli` starts them.

To read the code, begin with core/event.py, core/window.py, core/hub.py and app.py. Everything that
is listed in `__all__` is public; nothing else is. Names are loaded when they are first used: a
producer never imports a web server, and a script that needs only an error imports no Redis client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from broadcaster.errors import (
    BackendUnavailableError,
    BroadcasterError,
    ConfigurationError,
    InvalidCursorError,
    InvalidEventError,
    InvalidRequestError,
    MalformedEntryError,
)

if TYPE_CHECKING:
    from broadcaster.backend.client import UNAVAILABLE, connect, connect_sync, redacted
    from broadcaster.backend.embedded import EmbeddedRedis, start_embedded
    from broadcaster.backend.publisher import (
        ConflictError,
        Outgoing,
        PartialPublishError,
        Publisher,
        SyncPublisher,
        Transaction,
    )
    from broadcaster.backend.runs import Run, RunLostError, RunQueue
    from broadcaster.client import EventSource, StreamEvent, StreamRefusedError
    from broadcaster.core.event import Event, EventId

__all__ = [
    "UNAVAILABLE",
    "BackendUnavailableError",
    "BroadcasterError",
    "ConfigurationError",
    "ConflictError",
    "EmbeddedRedis",
    "Event",
    "EventId",
    "EventSource",
    "InvalidCursorError",
    "InvalidEventError",
    "InvalidRequestError",
    "MalformedEntryError",
    "Outgoing",
    "PartialPublishError",
    "Publisher",
    "Run",
    "RunLostError",
    "RunQueue",
    "StreamEvent",
    "StreamRefusedError",
    "SyncPublisher",
    "Transaction",
    "connect",
    "connect_sync",
    "redacted",
    "start_embedded",
]

_HOME = {
    "broadcaster.backend.client": ("UNAVAILABLE", "connect", "connect_sync", "redacted"),
    "broadcaster.backend.embedded": ("EmbeddedRedis", "start_embedded"),
    "broadcaster.backend.publisher": (
        "ConflictError",
        "Outgoing",
        "PartialPublishError",
        "Publisher",
        "SyncPublisher",
        "Transaction",
    ),
    "broadcaster.backend.runs": ("Run", "RunLostError", "RunQueue"),
    "broadcaster.client": ("EventSource", "StreamEvent", "StreamRefusedError"),
    "broadcaster.core.event": ("Event", "EventId"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value
