"""Checks the events of a request before they are written. Other clients are served meanwhile."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from broadcaster.core.entry import size_of
from broadcaster.core.json.incoming import Incoming
from broadcaster.errors import InvalidEventError
from broadcaster.web.problem import ProblemError
from broadcaster.web.serving import ServedNode

_SLICE_S = 0.005
_LARGE = 1024
"""Characters of data above which a schema is checked in a thread: 1,000 numbers take 7 ms."""
# One, because each further thread that computes would delay the event loop by another turn.
_THREAD = ThreadPoolExecutor(1, "schemas")


class Checker:
    """Checks the events of one request."""

    def __init__(self, node: ServedNode, channel: str) -> None:
        """Check nothing yet.

        Args:
            node: has the bounds and the schemas.
            channel: that is published to.
        """
        self._most_bytes = node.settings.max_event_bytes
        self._schemas = node.schemas
        self._channel = channel
        self._began_s = time.monotonic()

    async def check(self, event: Incoming) -> None:
        """Refuse an event that nodes would leave out, or whose data does not fit its schema.

        Raises:
            ProblemError: 413.
            InvalidEventError: no node could deliver it, or it does not fit.
        """
        size = size_of(event.type, event.key, event.data)
        if size > self._most_bytes:
            detail = f"an event has {size} bytes, which is more than {self._most_bytes}"
            raise ProblemError(413, detail)
        if self._schemas:
            of = self._channel, event.type, event.data
            if len(event.data) > _LARGE:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(_THREAD, self._schemas.check, *of)
            else:
                self._schemas.check(*of)
        if time.monotonic() - self._began_s > _SLICE_S:
            await asyncio.sleep(0)
            self._began_s = time.monotonic()


def unfit(error: InvalidEventError, **members: object) -> ProblemError:
    """Return the answer to an event that can't be published; `members` say which one it is."""
    if error.pointer is not None:
        members["pointer"] = error.pointer
    return ProblemError(422, str(error), None, **members)
