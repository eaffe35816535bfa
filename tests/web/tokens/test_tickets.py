"""Tickets are signed by all nodes with the same secrets, and are never taken for tokens."""

from __future__ import annotations

import base64
import json
import time

import pytest

from broadcaster.core.access.policy import Caller
from broadcaster.core.access.rights import CLAIM, RefusedTokenError, Rights
from broadcaster.core.access.ticket import TYPE
from broadcaster.web.tokens import signed
from broadcaster.web.tokens.keys import GivenKeys
from broadcaster.web.tokens.signatures import Issuer, MissingKeyError, Signatures
from broadcaster.web.tokens.tickets import Tickets, keys_of_secret
from tests.web.tokens.issuers import SECRET, token

OTHER = "another secret of the tests, of more than 32 bytes"
NOW_S = time.time()
SHOP = Caller({"origin": "https://shop.example"})


def made(*secrets: str) -> Tickets:
    return Tickets([GivenKeys(keys_of_secret(secret.encode())) for secret in secrets])


def issued(tickets: Tickets) -> str:
    claims = {"sub": "ann", "exp": NOW_S + 3600}
    rights = Rights({"orders": frozenset({"7"})})
    found = tickets.issue(claims, rights, "https://shop.example", NOW_S)
    assert found.lives_s == 900
    return found.text


def test_a_ticket_of_one_node_is_good_at_another() -> None:
    claims = made(SECRET).read(issued(made(SECRET)), SHOP, NOW_S)
    assert claims == {
        "sub": "ann",
        "exp": NOW_S + 3600,
        CLAIM: {"subscribe": ["orders:7"], "publish": [], "complete": True},
    }


def test_the_first_secret_signs_and_all_verify() -> None:
    assert made(OTHER, SECRET).read(issued(made(SECRET, OTHER)), SHOP, NOW_S)
    with pytest.raises(RefusedTokenError):
        made(OTHER).read(issued(made(SECRET, OTHER)), SHOP, NOW_S)


def test_a_token_with_the_same_secret_is_no_ticket_and_the_reverse() -> None:
    ticket = issued(made(SECRET))
    key = signed.key_of_secret(SECRET.encode())
    with pytest.raises(RefusedTokenError):
        Signatures([Issuer("", [GivenKeys([key])])]).verified(ticket)
    forged = signed.sign({"exp": NOW_S + 60, "until": NOW_S + 60, "origin": ""}, key, TYPE)
    for text in (token(), forged):
        with pytest.raises(RefusedTokenError):
            made(SECRET).read(text, Caller({}), NOW_S)


def test_a_type_of_another_kind_is_no_ticket_even_with_our_key() -> None:
    (key,) = keys_of_secret(SECRET.encode())
    text = signed.sign({"exp": NOW_S + 60, "until": NOW_S + 60, "origin": ""}, key, "JWT")
    with pytest.raises(RefusedTokenError, match="no ticket"):
        made(SECRET).read(text, Caller({}), NOW_S)


def test_without_a_secret_none_can_be_issued_yet() -> None:
    with pytest.raises(MissingKeyError):
        issued(Tickets([GivenKeys([])]))


def test_white_space_around_a_secret_in_a_file_does_not_matter() -> None:
    assert keys_of_secret(SECRET.encode()) == keys_of_secret(SECRET.encode() + b"\n")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        keys_of_secret(b"short" + b" " * 40)


def test_a_ticket_that_was_changed_is_refused() -> None:
    head, said, signature = issued(made(SECRET)).split(".")
    more = json.dumps({"sub": "bob", "exp": NOW_S + 60, "until": NOW_S + 60, "origin": ""})
    forged = base64.urlsafe_b64encode(more.encode()).decode().rstrip("=")
    unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": TYPE}).encode()).decode()
    for text in (
        f"{head}.{forged}.{signature}",
        f"{head}.{said}.",
        f"{head}.{said}.{signature[:-4]}AAAA",
        f"{unsigned.rstrip('=')}.{forged}.",
        "",
        "..",
    ):
        with pytest.raises(RefusedTokenError):
            made(SECRET).read(text, SHOP, NOW_S)
