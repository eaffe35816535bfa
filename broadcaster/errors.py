"""All public errors, as one tree.

Each message says what was expected and what to do. Nothing here knows a layer; every layer may
raise these. Errors that never leave the package are in the modules that raise them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broadcaster.core.event import EventId


class BroadcasterError(Exception):
    """Base of all errors that this package raises on purpose."""


class ConfigurationError(BroadcasterError, ValueError):
    """Settings, a channel definition or a url that can't work, or something Redis will not do."""


class UnknownChannelError(ConfigurationError):
    """There is no channel of this name.

    Attributes:
        channel: the name.
        known: the names of the channels that there are, sorted.
    """

    def __init__(self, channel: str, known: Iterable[str]) -> None:
        """Name the channels that there are, and the places where one is configured."""
        self.channel = channel
        self.known = sorted(known)
        super().__init__(
            f"no channel {channel!r} is configured; there are: {', '.join(self.known)}. Configure "
            "it in BROADCASTER_CHANNELS or in the file that BROADCASTER_CONFIG names, or give the "
            "publisher its channels"
        )


class BackendUnavailableError(BroadcasterError):
    """Redis can't be reached or refuses the command for now. Trying again later may help."""


class InvalidRequestError(BroadcasterError, ValueError):
    """A request that would fail again however often it is repeated; becomes a 400."""


class InvalidCursorError(BroadcasterError, ValueError):
    """A `Last-Event-ID` or a `from` that can't be read."""


class InvalidEventError(BroadcasterError, ValueError):
    """What a producer wants to publish could not be delivered as it is (type, key or data)."""


class PartialPublishError(BroadcasterError):
    """`publish_many` ended early. `__cause__` is what happened.

    Attributes:
        ids: one for each event that was sent, in order. None: Redis refused it, or its answer was
            lost, and it may be in the stream or not. Events after these were not sent.
    """

    def __init__(self, ids: list[EventId | None], cause: BaseException) -> None:
        """Count what was published."""
        self.ids = ids
        stored = sum(id is not None for id in ids)
        super().__init__(f"{stored} events were published and {len(ids) - stored} not for certain "
                         f"when this happened: {cause}")  # fmt: skip


class ConflictError(BroadcasterError):
    """A watched key was changed by somebody else; nothing was written. Read again and retry."""


class RunLostError(BroadcasterError):
    """Another worker took the run over; this one must not go on with it."""


class StreamRefusedError(BroadcasterError):
    """The server will not serve this stream, however often it is asked.

    Attributes:
        status: the HTTP status.
        detail: the server's explanation, or what was wrong with its answer.
    """

    def __init__(self, status: int, detail: str) -> None:
        """Say what the server said."""
        self.status = status
        self.detail = detail
        super().__init__(f"{detail} (HTTP status {status})")
