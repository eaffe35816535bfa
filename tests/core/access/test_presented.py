"""Where a request has its token, and whether its cookie counts."""

from __future__ import annotations

import pytest

from broadcaster.core.access.policy import Caller, Denied
from broadcaster.core.access.presented import Kind, Presented, is_own, presented

SHOP = "https://shop.example"


def found(query: str = "", cookie: str = "session", **headers: str) -> Presented | Denied | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return presented(Caller({"host": "hub.example", **named}, query), cookie, {SHOP})


@pytest.mark.parametrize("header", ["Bearer t", "bearer  t", "BEARER t "])
def test_a_bearer_token_is_in_authorization(header: str) -> None:
    assert found(authorization=header) == Presented(Kind.TOKEN, "t")


@pytest.mark.parametrize("header", ["Basic dDp0", "t", "Bearer", "Bearer ", ""])
def test_another_header_has_no_token(header: str) -> None:
    assert found(authorization=header) is None


def test_a_ticket_is_in_the_query_and_the_last_one_counts() -> None:
    assert found("ticket=a&ticket=b") == Presented(Kind.TICKET, "b")


def test_a_bearer_token_in_the_query_is_refused_even_beside_another() -> None:
    denied = found("access_token=t", authorization="Bearer t")
    detail = "a token in the query is refused, since it ends up in logs: use a ticket"
    assert denied == Denied(detail, 401)


def test_a_header_wins_over_a_ticket_and_that_over_a_cookie() -> None:
    everything = {"authorization": "Bearer h", "cookie": "session=c"}
    assert found("ticket=q", **everything) == Presented(Kind.TOKEN, "h")
    assert found("ticket=q", cookie="session=c") == Presented(Kind.TICKET, "q")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": SHOP, "sec_fetch_site": "cross-site"},
        {"origin": "https://hub.example", "sec_fetch_site": "same-origin"},
        {"origin": "https://HUB.example"},
        {"origin": "http://hub.example"},
    ],
)
def test_a_cookie_counts_that_a_page_of_ours_sends(headers: dict[str, str]) -> None:
    caller = Caller(_headers(headers))
    assert presented(caller, "session", {SHOP}) == Presented(Kind.TOKEN, "t")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "https://shop.example.evil"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://hub.example", "sec_fetch_site": "same-site"},
        {"origin": "hub.example"},
        {"origin": "chrome://hub.example"},
    ],
)
def test_a_cookie_that_another_page_sends_is_refused(headers: dict[str, str]) -> None:
    denied = presented(Caller(_headers(headers)), "session", {SHOP})
    assert denied == Denied("a page of another origin has sent this cookie", 403)


def _headers(headers: dict[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"host": "hub.example", "cookie": "session=t", **named}


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("https://hub.example", "hub.example", True),
        ("https://hub.example", "HUB.example", True),
        ("https://hub.example", "", False),
        ("https://", "", False),
        ("https", "https", False),
        ("https://a://hub.example", "a://hub.example", True),  # no browser has such a host
    ],
)
def test_an_origin_is_own_if_the_request_was_sent_to_its_host(
    origin: str, host: str, own: bool
) -> None:
    assert is_own(origin, Caller({"host": host})) is own


def test_a_request_without_a_host_was_sent_to_no_origin() -> None:
    assert not is_own("https://xxxx", Caller({}))


def test_a_cookie_counts_only_under_the_name_that_is_set() -> None:
    caller = Caller(_headers({"sec_fetch_site": "cross-site"}))
    assert presented(caller, "", set()) is None
    assert presented(caller, "other", set()) is None
