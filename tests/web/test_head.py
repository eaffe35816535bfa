"""The path, the client address and CORS, read from a request's head."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.errors import InvalidRequestError
from broadcaster.settings import Settings
from broadcaster.web import head

SHOP, EVIL = b"https://shop.example", b"https://evil.example"


def settings(*origins: bytes, **others: Any) -> Settings:
    return Settings(redis_url="redis://x", cors_origins=[o.decode() for o in origins], **others)


def scope(raw_path: bytes, path: str | None = None, root_path: str = "") -> dict[str, Any]:
    decoded = raw_path.decode() if path is None else path
    return {"raw_path": raw_path, "path": decoded, "root_path": root_path, "headers": []}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (scope(b"/"), [""]),
        (scope(b"/a/b"), ["a", "b"]),
        (scope(b"/a%2fb/%2F", "/a/b//"), ["a/b", "/"]),
        (scope(b"/%61/%C3%A9", "/a/é"), ["a", "é"]),
        (scope(b"/a%252Fb", "/a%2Fb"), ["a%2Fb"]),
        (scope(b"/a//b/"), ["a", "", "b", ""]),
        # mounted, or behind a proxy that takes a prefix away
        (scope(b"/live/a%2Fb", "/live/a/b", "/live"), ["a/b"]),
        (scope(b"/l%69ve/x/a", "/live/x/a", "/live/x"), ["a"]),
        (scope(b"/a", None, "/live"), ["a"]),
        (scope(b"/live%2Fa", "/live/a", "/live"), ["live/a"]),
        # a server without it, and a middleware that changes the one and not the other
        ({"path": "/a b/c", "headers": []}, ["a b", "c"]),
        (scope(b"/prefix/a%2Fb", "/a/b"), ["a", "b"]),
    ],
)
def test_the_segments_of_a_path(asked: dict[str, Any], expected: list[str]) -> None:
    assert head.segments(asked) == expected


def test_a_path_that_is_not_utf_8_is_no_path() -> None:
    with pytest.raises(InvalidRequestError):
        head.segments(scope(b"/%FF", "/�"))


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", None, True),
        ("1.1", b"keep-alive", True),
        ("1.1", b"Keep-Alive, TE", True),
        ("1.1", b"close", False),
        ("1.1", b"TE, Close", False),
        ("1.0", None, False),
        ("1.0", b"keep-alive", False),
        ("2", None, False),
        ("3", None, False),
    ],
)
def test_only_http_1_1_has_the_header_connection(
    version: str, connection: bytes | None, kept: bool
) -> None:
    asked = {
        "http_version": version,
        "headers": [(b"connection", connection)] if connection else [],
    }
    assert head.kept_alive(asked) == ([(b"connection", b"keep-alive")] if kept else [])
    assert head.kept_alive({"headers": []}) == []


def test_the_address_of_a_client() -> None:
    assert head.client_address({"client": ("10.0.0.1", 4711)}) == "10.0.0.1:4711"
    assert head.client_address({"client": None}) == head.client_address({}) == ""


@pytest.mark.parametrize(
    ("origins", "credentials", "origin", "expected"),
    [
        ((), False, SHOP, {}),
        ((SHOP,), False, None, {b"vary": b"Origin"}),
        ((SHOP,), False, EVIL, {b"vary": b"Origin"}),
        ((SHOP,), True, EVIL, {b"vary": b"Origin"}),
        ((SHOP,), False, SHOP, {b"access-control-allow-origin": SHOP, b"vary": b"Origin"}),
        ((SHOP, EVIL), True, EVIL, {
            b"access-control-allow-origin": EVIL,
            b"access-control-allow-credentials": b"true",
            b"vary": b"Origin",
        }),
        ((b"*",), False, EVIL, {b"access-control-allow-origin": b"*", b"vary": b"Origin"}),
    ],
)  # fmt: skip
def test_pages_of_allowed_origins_may_read(
    origins: tuple[bytes, ...],
    credentials: bool,
    origin: bytes | None,
    expected: dict[bytes, bytes],
) -> None:
    asked = {"headers": [(b"host", b"x")] + ([(b"origin", origin)] if origin else [])}
    configured = settings(*origins, cors_credentials=credentials)
    assert dict(head.cors_headers(configured, asked)) == expected


@pytest.mark.parametrize(
    ("origin", "method", "headers", "refused"),
    [
        (SHOP, b"GET", None, []),
        (SHOP, b"HEAD", b"", []),
        (SHOP, b"GET", b"last-event-id, Cache-Control,accept", []),
        (SHOP, b"GET", b"authorization", []),
        (SHOP, b"GET", b"  AUTHORIZATION ,, last-event-ID,\tcache-control,", []),
        (SHOP, b"GET", b"authorization,x-requested-with,pragma,content-type", []),
        (SHOP, b"GET", b"X-Tenant", []),
        (EVIL, b"GET", None, ["this origin"]),
        (SHOP, b"DELETE", b"x-mine", ["the method 'DELETE'", "the header 'x-mine'"]),
        (SHOP, b"GET", b"authorization-x, x-tenant", ["the header 'authorization-x'"]),
        (SHOP, b"get", None, ["the method 'get'"]),
    ],
)
def test_a_preflight(
    origin: bytes, method: bytes, headers: bytes | None, refused: list[str]
) -> None:
    sent = [(b"origin", origin), (b"access-control-request-method", method)]
    if headers is not None:
        sent.append((b"access-control-request-headers", headers))
    asked = {"method": "OPTIONS", "headers": sent}
    configured = settings(SHOP, cors_headers=("X-Tenant",))
    assert head.is_preflight(configured, asked)
    assert not head.is_preflight(settings(), asked)
    assert not head.is_preflight(configured, {"method": "GET", "headers": sent})
    answer, found = head.preflight(configured, asked)
    assert found == refused
    told = dict(answer)
    assert told.get(b"access-control-allow-origin") == (SHOP if origin == SHOP else None)
    assert {b"Last-Event-ID", b"Authorization", b"X-Tenant"} <= set(
        told[b"access-control-allow-headers"].split(b", ")
    )
    assert told[b"access-control-allow-methods"] == b"GET, HEAD, POST"
    assert told[b"access-control-max-age"] == b"86400"
    assert told[b"vary"].startswith(b"Origin")


def test_a_preflight_where_all_headers_are_allowed_names_them() -> None:
    """A `*` would not cover `Authorization`, and nothing where cookies are sent."""
    sent = [
        (b"origin", SHOP),
        (b"access-control-request-method", b"GET"),
        (b"access-control-request-headers", b"x-a,authorization"),
        (b"access-control-request-headers", b"x-b"),
    ]
    answer, refused = head.preflight(settings(SHOP, cors_headers=("*",)), {"headers": sent})
    allowed = dict(answer)[b"access-control-allow-headers"].lower().split(b", ")
    assert not refused
    assert {b"x-a", b"x-b", b"authorization"} <= set(allowed)
    assert b"*" not in allowed


@pytest.mark.parametrize(("origins", "allowed"), [((SHOP,), True), ((b"*",), False)])
def test_a_named_origin_may_ask_a_private_network(
    origins: tuple[bytes, ...], allowed: bool
) -> None:
    sent = [
        (b"origin", SHOP),
        (b"access-control-request-method", b"GET"),
        (b"access-control-request-private-network", b"true"),
    ]
    answer, _ = head.preflight(settings(*origins), {"headers": sent})
    assert ((b"access-control-allow-private-network", b"true") in answer) == allowed
