"""Reads a request's head: path, client address, CORS. Pure.

These are functions of the ASGI scope, not middleware. A middleware would stay between an event
stream and its server while the client is connected, and the stream could not use the transport.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from broadcaster.errors import InvalidRequestError
from broadcaster.settings import Settings

Headers = list[tuple[bytes, bytes]]

_DAY_S = 86_400
_ASKED = b"access-control-request-headers"
_ALLOWED_METHODS = (b"GET", b"HEAD", b"POST")
# The safelisted ones need no permission, but a browser may ask for them too.
# https://fetch.spec.whatwg.org/#cors-safelisted-request-header
_ALLOWED_HEADERS = (
    "Accept", "Accept-Language", "Authorization", "Cache-Control", "Content-Language",
    "Content-Type", "Idempotency-Key", "Last-Event-ID", "Pragma", "X-Requested-With",
)  # fmt: skip


def header(scope: Any, name: bytes) -> bytes | None:
    """Return the first value of a header, None without one. `name` must be in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def client_address(scope: Any) -> str:
    """Return the client's address and port, `127.0.0.1:40000`; empty if the server knows none.

    Where a trusted proxy sent `X-Forwarded-For`, the server has already put its value there.
    """
    return ":".join(map(str, scope.get("client") or ()))


def segments(scope: Any) -> list[str]:
    """Return the decoded segments of the path, without the prefix that the hub is mounted under.

    "URIs that differ in the replacement of a reserved character with its corresponding
    percent-encoded octet are not equivalent": `/a%2Fb` is one segment, `a/b`, and `/a/b` are two.
    https://www.rfc-editor.org/rfc/rfc3986#section-2.2

    Raises:
        InvalidRequestError: the path is not UTF-8.
    """
    path, raw = scope["path"], scope.get("raw_path") or b""
    # If a middleware has changed `path` but not `raw_path`, `path` is right.
    if b"%" in raw and unquote(raw.decode("latin-1")) == path:
        try:
            found = [unquote_to_bytes(part).decode() for part in raw.split(b"/")[1:]]
        except UnicodeDecodeError as error:
            raise InvalidRequestError("the path must be UTF-8") from error
    else:
        found = path.split("/")[1:]
    prefix = scope.get("root_path", "").strip("/")
    if prefix:
        above = prefix.split("/")
        if found[: len(above)] == above:  # else the server has removed the prefix already
            return found[len(above) :]
    return found


def kept_alive(scope: Any) -> Headers:
    """Return `Connection: keep-alive`, if the connection may stay open after the answer.

    In HTTP/1.1 it says what is the rule anyway, and some clients and proxies look for it. "An
    endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields."
    https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
    """
    if scope.get("http_version") != "1.1":
        return []
    if b"close" in (header(scope, b"connection") or b"").lower():
        return []
    return [(b"connection", b"keep-alive")]


def cors_headers(settings: Settings, scope: Any) -> Headers:
    """Return the headers that let pages of the configured origins read an answer.

    Empty if no origin is configured.
    """
    if not settings.cors_origins:
        return []
    allowed = _allowed_origin(settings, header(scope, b"origin"))
    return [*allowed, (b"vary", b"Origin")]


def _allowed_origin(settings: Settings, origin: bytes | None) -> Headers:
    if origin is None:
        return []
    if "*" in settings.cors_origins:
        return [(b"access-control-allow-origin", b"*")]
    if origin.decode("latin-1") not in settings.cors_origins:
        return []
    allowed = [(b"access-control-allow-origin", origin)]
    if settings.cors_credentials:
        allowed.append((b"access-control-allow-credentials", b"true"))
    return allowed


def is_preflight(settings: Settings, scope: Any) -> bool:
    """Return True if a browser asks whether a page of another origin may send a request."""
    return (
        scope["method"] == "OPTIONS"
        and bool(settings.cors_origins)
        and header(scope, b"origin") is not None
        and header(scope, b"access-control-request-method") is not None
    )


def preflight(settings: Settings, scope: Any) -> tuple[Headers, list[str]]:
    """Answer a preflight.

    Returns:
        The headers of the answer, and what is refused, in words. A browser refuses the same by
        itself, by comparing these headers with what it asked.
    """
    origin = _allowed_origin(settings, header(scope, b"origin"))
    asked = _asked_headers(scope)
    allowed = [*_ALLOWED_HEADERS, *settings.cors_headers]
    if "*" in allowed:  # by name, because a `*` never means `Authorization`
        allowed = [*_ALLOWED_HEADERS, *asked]
    known = {name.lower() for name in allowed}
    refused = [] if origin else ["this origin"]
    method = header(scope, b"access-control-request-method") or b""
    if method not in _ALLOWED_METHODS:
        refused.append(f"the method {method.decode('latin-1')[:32]!r}")
    refused += [f"the header {name[:64]!r}" for name in asked if name not in known]
    answer = [
        *origin,
        (b"access-control-allow-methods", b", ".join(_ALLOWED_METHODS)),
        (b"access-control-allow-headers", ", ".join(dict.fromkeys(allowed)).encode("latin-1")),
        (b"access-control-max-age", b"%d" % _DAY_S),
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    if header(scope, b"access-control-request-private-network") == b"true" and _is_named(origin):
        # A page of the internet asks for a hub in a private network.
        answer.append((b"access-control-allow-private-network", b"true"))
    return answer, refused


def _asked_headers(scope: Any) -> list[str]:
    """Return the names of headers that a preflight asks for, in lower case."""
    lines = [value for name, value in scope["headers"] if name == _ASKED]
    names = b",".join(lines).decode("latin-1").lower().split(",")
    return [name.strip() for name in names if name.strip()]


def _is_named(allowed: Headers) -> bool:
    return any(value != b"*" for _, value in allowed)
