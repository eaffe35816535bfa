"""Fans Redis Streams out to browsers over Server-Sent Events, on as many nodes as you like.

The layers, lowest first; each imports only those below it:

* `errors`: what can go wrong, for users of any layer; `version`: `__version__`;
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
from broadcaster.version import VERSION as __version__

if TYPE_CHECKING:
    from broadcaster.app import create_app
    from broadcaster.backend.driver.connect import connect, connect_sync
    from broadcaster.backend.driver.errors import UNAVAILABLE
    from broadcaster.backend.driver.urls import redacted
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
    from broadcaster.client.parser import StreamEvent
    from broadcaster.client.source import EventSource, StreamRefusedError
    from broadcaster.core.channel import Channel
    from broadcaster.core.event import Event, EventId
    from broadcaster.settings import Settings, load_settings

__all__ = [
    "UNAVAILABLE",
    "BackendUnavailableError",
    "BroadcasterError",
    "Channel",
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
    "Settings",
    "StreamEvent",
    "StreamRefusedError",
    "SyncPublisher",
    "Transaction",
    "__version__",
    "connect",
    "connect_sync",
    "create_app",
    "load_settings",
    "redacted",
    "start_embedded",
]

_HOME = {
    "broadcaster.app": ("create_app",),
    "broadcaster.backend.driver.connect": ("connect", "connect_sync"),
    "broadcaster.backend.driver.errors": ("UNAVAILABLE",),
    "broadcaster.backend.driver.urls": ("redacted",),
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
    "broadcaster.client.parser": ("StreamEvent",),
    "broadcaster.client.source": ("EventSource", "StreamRefusedError"),
    "broadcaster.core.channel": ("Channel",),
    "broadcaster.core.event": ("Event", "EventId"),
    "broadcaster.settings": ("Settings", "load_settings"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value
