"""Reads all events of one run, from its beginning, for responses that are either whole or cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broadcaster.core.event import Live, Reset, StateFollows, Superseded
from broadcaster.core.reading.reading import Yielded
from broadcaster.core.wire import RESTART, Ending
from broadcaster.node.listener import Listener
from broadcaster.web.runs.formatted import CutError


async def run_events(
    listener: Listener, run: str, *, until_live: bool = False
) -> AsyncIterator[tuple[str, str]]:
    """Yield the type and the data of each event of a run, after one without a type.

    Args:
        listener: begins before the first event of the run. It is closed at the end.
        run: its id.
        until_live: True ends without an error where the past ends.

    Raises:
        CutError: the whole answer can't be sent. Its client has to come back.
        BackendUnavailableError: it can't begin now.
    """
    begun, listener.renews = False, False
    async with listener:
        yield "", ""  # it has begun, so that the head of the response leaves at once
        async for value in listener:
            if isinstance(value, Live) and until_live:
                return
            if isinstance(value, Live) or (not begun and _is_whole(value)):
                continue
            if isinstance(value, Reset | StateFollows | Superseded) or (
                value.type == RESTART.type and begun
            ):
                raise CutError(f"the answer {run} does not go on where it was")
            if value.type != RESTART.type:
                begun = True
                yield value.type, value.data.decode()
    if listener.ending is not Ending.COMPLETE:
        ending = listener.ending or Ending.CUT
        raise CutError(f"the answer {run} is not whole: {ending}", ending)


def _is_whole(value: Yielded) -> bool:
    """Return True if a state follows that has all events."""
    return isinstance(value, StateFollows) and not value.since and not value.too_large
