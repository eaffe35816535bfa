"""The part of a node that event streams use, as types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from broadcaster.core.access import Policy, Verifier
from broadcaster.core.channel import Channel
from broadcaster.core.counters import Meters
from broadcaster.core.grants import Holder
from broadcaster.core.hub import Hub
from broadcaster.core.places import UNKNOWN, Owners
from broadcaster.core.wire import Shed
from broadcaster.settings import Settings
from broadcaster.web.connection import Asker, Pacing


class Timekeeper(Protocol):
    """The clock that makes the ids."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""


class RevocationsKnown(Protocol):
    """Knows which tokens were revoked."""

    def concerns(self, holder: Holder | None) -> bool:
        """Return True if the token of a stream's holder was revoked."""


class StreamLimits(Protocol):
    """Counts event streams by their owners."""

    @property
    def counts(self) -> bool:
        """Return False if there is no limit, so that nothing has to be counted."""

    @property
    def pacing(self) -> Callable[[], Pacing] | None:
        """Makes the allowance of a client that is sent the past; None if there is no limit."""

    def take(self, owners: Owners, *, arrives: bool = True) -> None:
        """Count a stream that is about to be served, or another request. `free` must follow."""

    def free(self, owners: Owners) -> None:
        """Count a stream no more: its response has ended."""


class StreamingNode(Protocol):
    """The part of a node that the endpoint uses.

    Its async methods raise subclasses of `BroadcasterError`.
    """

    settings: Settings
    hub: Hub
    channels: Mapping[str, Channel]
    policy: Policy
    verifier: Verifier | None
    meters: Meters

    @property
    def clock(self) -> Timekeeper:
        """Tells the time."""

    @property
    def questions(self) -> Asker:
        """Asks the log for subscribers."""

    @property
    def revoking(self) -> RevocationsKnown:
        """Knows which tokens were revoked."""

    @property
    def limits(self) -> StreamLimits:
        """Counts the event streams that are served."""

    def why_shed(self, streams: Iterable[str], owners: Owners = UNKNOWN) -> Shed | None:
        """Return why a newcomer to these streams can't be served now; None if it can."""

    async def loaded(self, streams: Iterable[str]) -> bool:
        """Wait a moment for windows that are still loading. Return True if all are loaded."""
