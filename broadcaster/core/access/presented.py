"""Finds the token that a request presents: in a header, in the query, or in a cookie. Pure.

A browser adds cookies to requests that any page makes. So a cookie counts only if the page that
sent the request is one of ours.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto
from typing import NamedTuple

from broadcaster.core.access.policy import Caller, Denied

TICKET_PARAM = "ticket"
"""The query parameter of a ticket."""
_BEARER_PARAM = "access_token"
_OWN_PAGES = (None, "same-origin", "none")


class Kind(Enum):
    """The kind of thing that a request presents."""

    TOKEN = auto()
    """A token, in `Authorization` or a cookie."""
    TICKET = auto()
    """A ticket, in the query."""


class Presented(NamedTuple):
    """The token or ticket that a request presents, as text."""

    kind: Kind
    text: str


def presented(caller: Caller, cookie: str, origins: Collection[str]) -> Presented | Denied | None:
    """Return what a request presents. Of several things, the first of these counts.

    Args:
        caller: that sent the request.
        cookie: the name of the cookie that may have a token; empty if none may.
        origins: the origins whose pages may read.

    Returns:
        A token or a ticket; None if there is neither. `Denied` if a token is where it must not be.
    """
    if _BEARER_PARAM in caller.query:
        detail = "a token in the query is refused, since it ends up in logs: use a ticket"
        return Denied(detail, 401)
    if text := bearer(caller):
        return Presented(Kind.TOKEN, text)
    if tickets := caller.query.get(TICKET_PARAM):
        return Presented(Kind.TICKET, tickets[-1])
    if cookie and (text := caller.cookies.get(cookie, "")):
        if not _is_of_our_page(caller, origins):
            return Denied("a page of another origin has sent this cookie")
        return Presented(Kind.TOKEN, text)
    return None


def bearer(caller: Caller) -> str:
    """Return the token of the header `Authorization`; empty if there is none."""
    scheme, _, text = caller.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def _is_of_our_page(caller: Caller, origins: Collection[str]) -> bool:
    """Return True if a cookie may count.

    Browsers send no `Origin` with a GET of the same origin, and none for the images of a page. The
    latter say in `Sec-Fetch-Site` where they come from.
    https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
    """
    origin, site = caller.headers.get("origin"), caller.headers.get("sec-fetch-site")
    if origin is None:
        return site in _OWN_PAGES
    return origin in origins or (site in _OWN_PAGES and is_own(origin, caller))


def is_own(origin: str, caller: Caller) -> bool:
    """Return True if an origin is the one that the request was sent to, by its `Host`."""
    scheme, separator, host = origin.partition("://")
    own = caller.headers.get("host", "").lower()
    return scheme in ("http", "https") and bool(separator and own) and host.lower() == own
