"""Writes events that are published over HTTP, and makes the problems of the answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from broadcaster.core.event import EventId
from broadcaster.core.json.incoming import Publication, Published
from broadcaster.errors import (
    BackendUnavailableError,
    BroadcasterError,
    InvalidEventError,
    PartialPublishError,
)
from broadcaster.web.problem import ProblemError

logger = logging.getLogger(__name__)

SOON = {"retry-after": "5"}
"""The header of an answer to trouble that passes."""

_AWAY = "Redis is away or refuses for now"


class EventWriter(Protocol):
    """Publishes for the clients of a node."""

    async def publish(
        self, publications: Sequence[Publication], subject: str = ""
    ) -> Sequence[Published]:
        """Publish in order, and return the result of each publication.

        Raises subclasses of `BroadcasterError`.
        """


class Written(NamedTuple):
    """The result of writing some events.

    Attributes:
        ids: of the events, in order. None is an event that is not certainly stored.
        problem: None if all are.
    """

    ids: Sequence[EventId | None]
    problem: ProblemError | None = None


async def write(writer: EventWriter, publications: Sequence[Publication], subject: str) -> Written:
    """Publish, and return the result. Errors of Redis are a part of it, and are not raised."""
    if not any(one.events for one in publications):
        return Written([])
    try:
        found = await writer.publish(publications, subject)
    except InvalidEventError as error:
        return Written([], ProblemError(422, str(error)))
    except BroadcasterError as error:
        return _failed(publications, error)
    ids = [id_ for one in found for id_ in one.ids]
    if any(one.refused for one in found):
        return Written(ids, ProblemError(422, "an idempotency key was used for another event"))
    return Written(ids)


def _failed(publications: Sequence[Publication], error: BroadcasterError) -> Written:
    channel, ids = publications[0].channel, list[EventId | None]()
    cause: BaseException | None = error
    if isinstance(error, PartialPublishError):
        ids, cause = error.ids, error.__cause__
    if not isinstance(cause, BackendUnavailableError):
        logger.error("nothing can be published to %s: %s", channel, cause)
        return Written(ids, ProblemError(503, "this hub can't publish until an operator mends it"))
    logger.warning("publishing to %s failed: %s", channel, cause)
    stored, count = sum(id_ is not None for id_ in ids), sum(len(p.events) for p in publications)
    detail = f"{_AWAY}. Of {count} events {stored} are certainly published"
    if all(one.key for one in publications):
        detail = f"{_AWAY}. Send it again: with the same key nothing is published twice"
    return Written(ids, ProblemError(503, detail, SOON))
