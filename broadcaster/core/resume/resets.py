"""The first bytes of a response, and the resets in them. Pure. Part of `core.resume.machine`."""

from __future__ import annotations

from typing import NamedTuple

from broadcaster.core import sse
from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.steps import UNREADABLE_CHARS, Greeting, Hello, ResetPart
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import ResumeOutcome


class Lost(NamedTuple):
    """The reason for which a stream is reset.

    Attributes:
        reason: see `wire.ResetReason`.
        requested: the position that proves nothing, or the text of a cursor that can't be read.
    """

    reason: str
    requested: EventId | str

    def part(self, stream: str, resumed: EventId, at: bytes, *, state: bool = False) -> ResetPart:
        """Return the reset.

        Args:
            stream: its name.
            resumed: the position that it goes on after.
            at: the position in all streams, as an id.
            state: the state of the stream follows.
        """
        reason, requested = self
        data = sse.reset(stream, reason, str(requested), str(resumed), at, state=state)
        return ResetPart(data, stream, reason, requested, resumed, at, state)


def lost_by(greeting: Greeting) -> Lost | None:
    """Return why all streams of a client are reset at the beginning; None if they are not."""
    if greeting.unreadable is None:
        return None
    return Lost(greeting.reason, greeting.unreadable[:UNREADABLE_CHARS])


def hello(
    context: Context,
    subscription: Subscription,
    greeting: Greeting,
    position: Positions,
    at: bytes,
    with_state: frozenset[str],
) -> Hello:
    """Return the first bytes of a response to a client whose cursor can't be read.

    Args:
        context: counts the resets.
        subscription: the client's request.
        greeting: the content of the bytes.
        position: where the response begins in each stream.
        at: the id that restores it. Without it, the next part completes the block.
        with_state: the streams that are reset later, as their state follows then.
    """
    lost = lost_by(greeting)
    assert lost is not None
    data, streams = sse.retry(greeting.retry_ms), subscription.streams
    for stream in streams:
        if stream not in with_state:
            id_ = at if stream == streams[-1] else b""
            data += lost.part(stream, position[stream], id_).data
            context.resets[stream, lost.reason] += 1
    context.resumes[ResumeOutcome.RESET] += 1
    return Hello(data, at, with_state)
