"""Answers to requests that are not served: problems, and "come back later"."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from starlette.responses import Response

from broadcaster.core import sse
from broadcaster.core.access.policy import Denied, Policy, public
from broadcaster.core.wire import Shed
from broadcaster.errors import UnknownChannelError

SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""Headers of every answer. A browser must not guess what an answer is. And no page that is reached
from one of ours may learn its address, whose query can carry a token."""

EVENT_STREAM = (
    *SAFE,
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)
"""Headers of every event stream: no proxy may keep, change or buffer it."""


class SafeResponse(Response):
    """A response with the headers of every answer."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Add them to the others."""
        super().init_headers(headers)
        self.raw_headers += SAFE


def problem(
    status: int, detail: str, headers: dict[str, str] | None = None, **members: object
) -> Response:
    """Return a problem document (RFC 9457) for a request that would fail again.

    Use it only for such requests: any status but 200 ends an `EventSource` for good. `members` are
    further ones of the document.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    return SafeResponse(
        orjson.dumps({**body, "detail": detail, **members}),
        status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type="application/problem+json",
    )


class AnsweredError(Exception):
    """Ends the work on a request, because its answer is known.

    Attributes:
        response: the answer.
    """

    def __init__(self, response: Response) -> None:
        """Store the answer."""
        super().__init__(response.status_code)
        self.response = response


class RefusalError(AnsweredError):
    """Ends the work on a request. Its answer is a refusal."""


class ProblemError(RefusalError):
    """Ends the work on a request. Its answer is a problem document; see `problem`."""

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **members: object
    ) -> None:
        """Make the answer."""
        super().__init__(problem(status, detail, headers, **members))


def as_json(content: object, status: int = 200) -> Response:
    """Return a JSON response that caches must not store."""
    return SafeResponse(
        orjson.dumps(content),
        status,
        headers={"cache-control": "no-store"},
        media_type="application/json",
    )


def unknown_channel(error: UnknownChannelError, policy: Policy) -> Response:
    """Return 404 for a channel that does not exist.

    Its detail names the channels that exist, unless a policy may hide some of them.
    """
    detail = f"no channel {error.channel[:64]!r}"
    if policy is public:
        detail += f"; there are: {', '.join(error.known)}"
    return problem(404, detail)


def come_back(retry_ms: int, reason: Shed, cursor: bytes = b"", *, close: bool = True) -> Response:
    """Return an event stream that ends at once and says when to come back.

    For trouble that passes. "Any other HTTP response code […] must cause the user agent to fail the
    connection", while a client reconnects to a stream that ends.
    https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model

    Args:
        retry_ms: milliseconds.
        reason: for the comment.
        cursor: the id that the client came with, which is sent back. Some clients forget it at an
            event without an id, and would miss events without a word.
        close: also close the connection, which HTTP/1.1 would keep: a balancer of connections has
            to choose a node anew. HTTP/2 does not allow that header.
    """
    comment = b": %b\n" % reason.text.encode()
    response = event_stream(comment + sse.retry(retry_ms) + sse.at(cursor))
    if close:
        response.raw_headers.append((b"connection", b"close"))
    return response


def event_stream(body: bytes) -> Response:
    """Return an event stream of this body and nothing more."""
    response = Response(body)
    response.raw_headers = [*EVENT_STREAM, (b"content-length", b"%d" % len(body))]
    return response


def refused(denied: Denied) -> Response:
    """Return a refusal: 401 or 403.

    "The server generating a 401 response MUST send a WWW-Authenticate header field."
    https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
    """
    headers = {"www-authenticate": "Bearer"} if denied.status == 401 else None
    return problem(denied.status, denied.detail, headers)
