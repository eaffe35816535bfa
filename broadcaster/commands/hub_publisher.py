"""Publishes through a hub, over HTTP, with the interface of `DirectPublisher`.

Each write has an idempotency key. So it can be sent again if an answer is lost or the hub is away
for a moment, and no event is published twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import httpx
import orjson

from broadcaster.core.entry import encode
from broadcaster.core.event import EventId
from broadcaster.core.json.incoming import Incoming
from broadcaster.errors import (
    BackendUnavailableError,
    BroadcasterError,
    ConfigurationError,
    InvalidEventError,
    PartialPublishError,
)

_ATTEMPTS = 6
_PAUSE_S = 1.0
_LONGEST_S = 30.0
_TIMEOUT_S = 60.0
_PASSES = frozenset({408, 429, 502, 503, 504})
_WRONG_EVENT = frozenset({400, 413, 422})


class HubPublisher:
    """Publishes to a hub; for one thread at a time."""

    def __init__(
        self, url: str, token: str, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Open no connection yet.

        Args:
            url: of the hub.
            token: with the right to publish; empty sends none.
            sleep: waits so many seconds.

        Raises:
            ConfigurationError: the url can't be used.
        """
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"the url of a hub begins with http:// or https://: {url!r}")
        self._sleep = sleep
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S)

    def check(self, channel: str, event: Incoming) -> None:
        """Check that an event may be published, as far as that is possible without the hub.

        Raises:
            InvalidEventError: no node could deliver it.
        """
        encode(*event[:3])

    def publish_many(self, channel: str, events: Sequence[Incoming]) -> list[EventId]:
        """Publish events, in order, and return their ids.

        Raises:
            InvalidEventError: the hub refuses one of them.
            ConfigurationError: the hub refuses the request, such as its token.
            BackendUnavailableError: the hub is away. Events may be published.
            PartialPublishError: one of these, after some events were published.
        """
        if not events:
            return []
        lines = b"".join(orjson.dumps(event._asdict()) + b"\n" for event in events)
        answer = self._answer(channel, lines)
        said = [orjson.loads(line) for line in answer.content.splitlines()]
        # Lines after one that can't be published may be published, since many are written at once.
        by_line = {one["line"]: EventId.parse(one["id"]) for one in said if "id" in one}
        ids = [by_line.get(number) for number in range(1, len(events) + 1)]
        if answer.is_success and len(by_line) == len(events):
            return [id_ for id_ in ids if id_ is not None]
        error = _error(answer.status_code, said[-1] if said else {})
        if by_line:
            raise PartialPublishError(ids, error) from error
        raise error

    def _answer(self, channel: str, body: bytes) -> httpx.Response:
        headers = {"content-type": "application/x-ndjson", "idempotency-key": str(uuid4())}
        pause_s = _PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                path = f"/v1/channels/{channel}/events"
                answer = self._http.post(path, content=body, headers=headers)
                if answer.status_code not in _PASSES or attempt == _ATTEMPTS:
                    return answer
                asked = answer.headers.get("retry-after", "")
                pause_s = float(asked) if asked.isdecimal() else pause_s
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    said = str(error) or type(error).__name__
                    text = f"the hub is away, events may be published or not: {said}"
                    raise BackendUnavailableError(text) from error
            self._sleep(min(pause_s, _LONGEST_S))
            pause_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _error(status: int, problem: dict[str, Any]) -> BroadcasterError:
    detail = f"{problem.get('detail', 'the hub has not answered as expected')} (status {status})"
    if status in _PASSES:
        return BackendUnavailableError(detail)
    return (InvalidEventError if status in _WRONG_EVENT else ConfigurationError)(detail)
