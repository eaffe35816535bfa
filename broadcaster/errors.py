"""All public errors, as one tree.

Each message says what was expected and what to do. Every layer may raise these errors. Errors that
never leave the package are defined in the modules that raise them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broadcaster.core.event import EventId


class BroadcasterError(Exception):
    """The base of all errors that this package raises on purpose."""


class ConfigurationError(BroadcasterError, ValueError):
    """Settings, a channel or a url can't work, or Redis refuses a command for good."""


class UnknownChannelError(ConfigurationError):
    """There is no channel of this name.

    Attributes:
        channel: the name.
        known: the names of the configured channels, sorted.
    """

    def __init__(self, channel: str, known: Iterable[str]) -> None:
        """Make a message that names the configured channels, and where to configure another."""
        self.channel = channel
        self.known = sorted(known)
        close = difflib.get_close_matches(channel[:64], self.known, 1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        super().__init__(
            f"no channel {channel!r} is configured; {meant}there are: {', '.join(self.known)}. "
            "Configure it in BROADCASTER_CHANNELS or in the file that BROADCASTER_CONFIG names. A "
            "publisher can also be given its channels"
        )


class BackendUnavailableError(BroadcasterError):
    """Redis can't be reached or refuses the command for now. Trying again later may help."""


class InvalidRequestError(BroadcasterError, ValueError):
    """The request is wrong and would fail again. The answer is a 400."""


class InvalidCursorError(BroadcasterError, ValueError):
    """A `Last-Event-ID` or a `from` can't be read."""


class InvalidEventError(BroadcasterError, ValueError):
    """An event could not be delivered to clients, because of its type, key or data.

    Attributes:
        pointer: a JSON Pointer (RFC 6901) to the part of the data that does not fit its channel's
            JSON Schema; None if the reason is another one.
    """

    def __init__(self, text: str, pointer: str | None = None) -> None:
        """Store the arguments."""
        self.pointer = pointer
        super().__init__(text)


class KeyReusedError(BroadcasterError, ValueError):
    """The idempotency key was used for another event, so nothing was published."""


class PartialPublishError(BroadcasterError):
    """`publish_many` ended early. `__cause__` is the error that ended it.

    Attributes:
        ids: one for each event that was sent, in order. None means that Redis refused the event, or
            that the answer was lost. In the second case the event may be in the stream. Later
            events were not sent.
    """

    def __init__(self, ids: list[EventId | None], cause: BaseException) -> None:
        """Make a message with the number of published events."""
        self.ids = ids
        stored = sum(id is not None for id in ids)
        super().__init__(f"{stored} events were published and {len(ids) - stored} not for certain "
                         f"when this happened: {cause}")  # fmt: skip


class ConflictError(BroadcasterError):
    """Another client changed a watched key, so nothing was written. Read again and retry."""


class RunLostError(BroadcasterError):
    """Another worker has taken the run over, or it is over. This worker must not go on with it."""


class RunStoppedError(RunLostError):
    """A client has stopped the run. Nothing of it is published any more."""


class StreamRefusedError(BroadcasterError):
    """The server refuses this event stream, and would refuse it again.

    Attributes:
        status: the HTTP status.
        detail: the server's explanation, or what was wrong with its answer.
    """

    def __init__(self, status: int, detail: str) -> None:
        """Make a message of the server's explanation and the status."""
        self.status = status
        self.detail = detail
        super().__init__(f"{detail} (HTTP status {status})")
