"""Fans Redis Streams out to browsers over Server-Sent Events, on as many nodes as you like.

The layers, lowest first. Each one imports only layers below it:

* `errors` has the public errors, and `version` has `__version__`.
* `core` decides. It has no I/O, no clock and no await.
* `settings` reads the configuration.
* `backend` talks to Redis, `web` talks ASGI, `client` is the Python client. None of these three
  imports another one of them.
* `node` runs the parts of one node.
* `logs` has what a log of your own needs.
* `app` joins all of them, `answers` brings the output of models into other applications, and
  `commands` has the command line.

To read the code, begin with core/event.py, core/history/window.py, core/fanout/hub.py and
core/resume/machine.py, then node/node.py and app.py. Only the names in `__all__` here, and in that
of `logs`, are public. Each name is loaded at its first use. So a producer never imports a web
server, and a script that needs only an error imports no Redis client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from broadcaster.errors import (
    BackendUnavailableError,
    BroadcasterError,
    ConfigurationError,
    ConflictError,
    InvalidCursorError,
    InvalidEventError,
    InvalidRequestError,
    KeyReusedError,
    PartialPublishError,
    RunLostError,
    RunStoppedError,
    StreamRefusedError,
    UnknownChannelError,
)
from broadcaster.version import VERSION as __version__

if TYPE_CHECKING:
    from broadcaster.answers.facade import Answers
    from broadcaster.app import Application, create_app
    from broadcaster.backend.driver.connect import connect, connect_sync
    from broadcaster.backend.embedded import EmbeddedRedis
    from broadcaster.backend.log import Log, Requests
    from broadcaster.backend.memory import MemoryLog
    from broadcaster.backend.publishing.outgoing import Outgoing
    from broadcaster.backend.publishing.publisher import Publisher
    from broadcaster.backend.publishing.sync_publisher import SyncPublisher
    from broadcaster.backend.publishing.transaction import Transaction
    from broadcaster.backend.runs.queue import RunQueue
    from broadcaster.backend.runs.run import Run
    from broadcaster.client.parser import StreamEvent
    from broadcaster.client.source import EventSource
    from broadcaster.core.access.policy import Action, Caller, Denied, Grant, NotYet, Policy
    from broadcaster.core.channel import Channel
    from broadcaster.core.event import Event, EventId, Live, Reset, StateFollows, Superseded
    from broadcaster.core.filter import Filter
    from broadcaster.core.sse import Frame
    from broadcaster.core.wire import Ending
    from broadcaster.node.listener import Listener
    from broadcaster.settings import Settings, load_settings

__all__ = [
    "Action",
    "Answers",
    "Application",
    "BackendUnavailableError",
    "BroadcasterError",
    "Caller",
    "Channel",
    "ConfigurationError",
    "ConflictError",
    "Denied",
    "EmbeddedRedis",
    "Ending",
    "Event",
    "EventId",
    "EventSource",
    "Filter",
    "Frame",
    "Grant",
    "InvalidCursorError",
    "InvalidEventError",
    "InvalidRequestError",
    "KeyReusedError",
    "Listener",
    "Live",
    "Log",
    "MemoryLog",
    "NotYet",
    "Outgoing",
    "PartialPublishError",
    "Policy",
    "Publisher",
    "Requests",
    "Reset",
    "Run",
    "RunLostError",
    "RunQueue",
    "RunStoppedError",
    "Settings",
    "StateFollows",
    "StreamEvent",
    "StreamRefusedError",
    "Superseded",
    "SyncPublisher",
    "Transaction",
    "UnknownChannelError",
    "__version__",
    "connect",
    "connect_sync",
    "create_app",
    "load_settings",
]

_HOME = {
    "broadcaster.answers.facade": ("Answers",),
    "broadcaster.app": ("Application", "create_app"),
    "broadcaster.backend.driver.connect": ("connect", "connect_sync"),
    "broadcaster.backend.embedded": ("EmbeddedRedis",),
    "broadcaster.backend.log": ("Log", "Requests"),
    "broadcaster.backend.memory": ("MemoryLog",),
    "broadcaster.backend.publishing.outgoing": ("Outgoing",),
    "broadcaster.backend.publishing.publisher": ("Publisher",),
    "broadcaster.backend.runs.run": ("Run",),
    "broadcaster.backend.runs.queue": ("RunQueue",),
    "broadcaster.backend.publishing.sync_publisher": ("SyncPublisher",),
    "broadcaster.backend.publishing.transaction": ("Transaction",),
    "broadcaster.client.parser": ("StreamEvent",),
    "broadcaster.client.source": ("EventSource",),
    "broadcaster.core.access.policy": ("Action", "Caller", "Denied", "Grant", "NotYet", "Policy"),
    "broadcaster.core.channel": ("Channel",),
    "broadcaster.core.event": ("Event", "EventId", "Live", "Reset", "StateFollows", "Superseded"),
    "broadcaster.core.filter": ("Filter",),
    "broadcaster.core.sse": ("Frame",),
    "broadcaster.core.wire": ("Ending",),
    "broadcaster.node.listener": ("Listener",),
    "broadcaster.settings": ("Settings", "load_settings"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value
