"""The part of a node that the web uses, as types."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol

from broadcaster.core.access.grants import Holder
from broadcaster.core.access.policy import Policy, Verifier
from broadcaster.core.access.stream_counts import UNKNOWN, Owners
from broadcaster.core.channel import Channel
from broadcaster.core.counters import Meters
from broadcaster.core.event import EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.log import AnyAnswer, AnyQuestion
from broadcaster.core.runs.record import Record
from broadcaster.core.runs.silent import Waiting
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Shed
from broadcaster.settings import Settings
from broadcaster.settings.schemas import Schemas
from broadcaster.web.connection import Asker, Pacing
from broadcaster.web.publishing.writing import EventWriter


class Timekeeper(Protocol):
    """The clock that makes the ids."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""


class StreamLimits(Protocol):
    """Counts event streams, and requests that publish, by their owners."""

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

    def crowded(self, owners: Owners) -> Shed | None:
        """Return which owner has all the requests and event streams that it may have."""


class Wellbeing(Protocol):
    """Knows whether a node is ready."""

    def reasons(self) -> list[str]:
        """Return why newcomers should go elsewhere, in texts that may be public."""

    def report(self, *, details: bool) -> dict[str, Any]:
        """Return its state, as JSON can hold it."""


class NodeList(Protocol):
    """Knows the live nodes."""

    async def nodes(self, *, details: bool) -> dict[str, Any]:
        """Return the live nodes, by name."""


class Figures(Protocol):
    """Knows the metrics."""

    async def scrape(self, *, details: bool) -> bytes:
        """Return the metrics of this process and of its peers, in Prometheus's text format."""


class Revocation(Protocol):
    """A revocation that is in Redis; `backend.revocations.Revoked` is one."""

    @property
    def id(self) -> EventId:
        """Return its id, whose first number is its time."""

    @property
    def replicas(self) -> int | None:
        """Return the number of replicas that have it; None if that is not known."""


class Looks(Protocol):
    """Looks at the figures of all nodes each second.

    Attributes:
        viewers: the responses that are woken at each look.
    """

    viewers: set[Any]

    def newest(self, *, details: bool) -> bytes:
        """Return the newest look as an event; empty before the first one."""

    def history(self, *, details: bool) -> bytes:
        """Return what is kept of the last ten minutes, as one event."""


class RevocationsKnown(Protocol):
    """Knows which tokens were revoked."""

    def concerns(self, holder: Holder | None) -> bool:
        """Return True if the token of a stream's holder was revoked."""


class Revoker(RevocationsKnown, Protocol):
    """Revokes tokens."""

    async def revoke(self, name: str) -> Revocation:
        """Revoke the tokens of a subject, or one by its id, on all nodes.

        Raises subclasses of `BroadcasterError`.
        """


class RunKeeper(Protocol):
    """Begins, finds and stops runs. Its methods raise subclasses of `BroadcasterError`."""

    async def begin(self, channel: Channel, key: str, owner: str, body: bytes) -> EventId | None:
        """Ask workers for a run, and return its id; None if there are too many."""

    async def newest(self, channel: Channel, key: str) -> EventId | None:
        """Return the newest run about a key; None if there is none."""

    async def record(self, channel: Channel, run: EventId) -> Record | None:
        """Return the record of a channel's run; None if there is none."""

    async def find(self, run: EventId) -> tuple[Channel, Record] | None:
        """Return a run of any channel, and its channel; None if there is none."""

    async def waiting(self, channel: Channel, run: EventId) -> Waiting | None:
        """Return for how long no worker has had a run; None if one has it, or it is over."""

    async def stop(self, channel: Channel, run: EventId) -> None:
        """End a run, unless it is over."""


class GuardedNode(Protocol):
    """The part of a node that decides about callers."""

    policy: Policy
    verifier: Verifier | None

    @property
    def revoking(self) -> RevocationsKnown:
        """Knows which tokens were revoked."""


class ServedNode(GuardedNode, Protocol):
    """The part of a node that event streams and answers use.

    Its async methods raise subclasses of `BroadcasterError`.
    """

    settings: Settings
    hub: Hub
    meters: Meters
    draining: bool
    publishes: int
    schemas: Schemas

    @property
    def clock(self) -> Timekeeper:
        """Tells the time."""

    @property
    def questions(self) -> Asker:
        """Asks the log for subscribers."""

    @property
    def revoking(self) -> Revoker:
        """Knows which tokens were revoked."""

    @property
    def limits(self) -> StreamLimits:
        """Counts the event streams that are served, and requests that publish."""

    @property
    def publishing(self) -> EventWriter:
        """Publishes for clients."""

    @property
    def health(self) -> Wellbeing:
        """Knows whether the node is ready."""

    @property
    def registry(self) -> NodeList:
        """Lists the live nodes."""

    @property
    def metrics(self) -> Figures:
        """Renders the metrics."""

    @property
    def runs(self) -> RunKeeper:
        """Return the part that begins, finds and stops runs for clients."""

    @property
    def operations(self) -> Looks:
        """Looks at the figures of all nodes, for the page."""

    async def ask(self, stream: str, question: AnyQuestion) -> AnyAnswer:
        """Return the log's answer about a stream."""

    def run_events(self, wanted: Wanted) -> AsyncIterator[tuple[str, str]]:
        """Yield the type and the data of each event of a run; see `node.runs.events`."""

    def start(self) -> None:
        """Start the node. May be called again."""

    def why_shed(self, streams: Iterable[str], owners: Owners = UNKNOWN) -> Shed | None:
        """Return why a newcomer to these streams can't be served now; None if it can."""

    async def loaded(self, streams: Iterable[str]) -> bool:
        """Wait a moment for windows that are still loading. Return True if all are loaded."""

    async def describe(self, channel: str) -> dict[str, Any]:
        """Return the oldest and newest id, the length and the path of a channel."""
