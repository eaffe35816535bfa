"""Which keys a token may be signed with, and what is remembered of good ones."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jwt
import pytest

from broadcaster.core.access.rights import RefusedTokenError
from broadcaster.web.tokens import signatures as module
from broadcaster.web.tokens import signed
from broadcaster.web.tokens.keys import GivenKeys
from broadcaster.web.tokens.signatures import Issuer, MissingKeyError, Signatures
from tests.web.tokens.issuers import ISSUER, SECRET, jwk, pair, pem, token


class Counted(GivenKeys):
    """Keys that a test changes, and that may be more than are known."""

    def __init__(self, keys: Sequence[signed.Key], *, more: bool = False) -> None:
        super().__init__(keys)
        self.more = more

    def may_have(self, _: str) -> bool:
        return self.more


def public(algorithm: str, number: int = 0, kid: str | None = None) -> signed.Key:
    return signed.keys_of_pem(pem(pair(algorithm, number)))[0]._replace(id=kid)


def of(*keys: signed.Key, name: str = "", more: bool = False) -> Signatures:
    return Signatures([Issuer(name, [Counted(keys, more=more)])])


PLAIN = signed.key_of_secret(SECRET.encode())


def test_a_token_that_a_known_key_has_signed_is_good() -> None:
    assert of(PLAIN).verified(token(sub="ann")).claims["sub"] == "ann"


def test_a_key_counts_for_its_issuer_alone() -> None:
    other = "https://other.example"
    both = Signatures(
        [
            Issuer(ISSUER, [Counted([public("RS256", 0, "a")])]),
            Issuer(other, [Counted([public("RS256", 1, "a")])]),
        ]
    )
    assert both.verified(token(pair("RS256", 0), "RS256", kid="a", iss=ISSUER))
    assert both.verified(token(pair("RS256", 1), "RS256", kid="a", iss=other))
    for iss in (other, None, "", "https://id.example/"):
        with pytest.raises(RefusedTokenError):
            both.verified(token(pair("RS256", 0), "RS256", kid="a", iss=iss))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_token_brings_no_key_of_its_own(name: str) -> None:
    own = pair("ES256", 1)
    brought = {
        "jwk": jwk("ES256", own),
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example/certificate",
        "x5c": ["MIIB"],
    }
    header = {name: brought[name], "kid": "a"}
    text = jwt.encode({"exp": time.time() + 60}, own, "ES256", headers=header)
    with pytest.raises(RefusedTokenError, match="no key that is known here"):
        of(public("ES256", 0, "a")).verified(text)


def test_a_key_counts_for_its_id_alone() -> None:
    found = of(public("ES256", 0, "a"), public("ES256", 1, "b"))
    assert found.verified(token(pair("ES256", 1), "ES256", kid="b"))
    assert found.verified(token(pair("ES256", 1), "ES256"))
    for kid in ("a", "c"):
        with pytest.raises(RefusedTokenError):
            found.verified(token(pair("ES256", 1), "ES256", kid=kid))


def test_a_token_that_names_no_key_is_tried_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str | None] = []
    verify = signed.is_signed_with

    def noting(unverified: signed.Unverified, key: signed.Key) -> bool:
        tried.append(key.id)
        return verify(unverified, key)

    monkeypatch.setattr(module, "is_signed_with", noting)
    found = of(*(public("ES256", number, str(number)) for number in range(6)))
    assert found.verified(token(pair("ES256", 3), "ES256"))
    assert tried == ["0", "1", "2", "3"]
    for number in (4, 7):
        del tried[:]
        with pytest.raises(RefusedTokenError, match="none of the 4 keys that were tried"):
            found.verified(token(pair("ES256", number), "ES256"))
        assert tried == ["0", "1", "2", "3"]
    assert found.verified(token(pair("ES256", 5), "ES256", kid="5"))


def test_each_of_many_secrets_is_tried() -> None:
    secrets = [f"secret number {number} of the tests, long enough" for number in range(6)]
    keys = [signed.key_of_secret(secret.encode()) for secret in secrets]
    found = Signatures([Issuer("", [Counted([key]) for key in keys])])
    assert found.verified(token(secrets[5]))


def test_a_key_that_may_be_elsewhere_is_missing() -> None:
    found = of(public("ES256", 0, "a"), more=True)
    with pytest.raises(MissingKeyError):
        found.verified(token(pair("ES256", 1), "ES256", kid="b"))
    with pytest.raises(RefusedTokenError):  # the key is known, and has not signed it
        found.verified(token(pair("ES256", 1), "ES256", kid="a"))


def test_good_tokens_are_remembered_until_a_key_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Counted([PLAIN])
    found, text = Signatures([Issuer("", [source])]), token(sub="ann")
    calls: list[str] = []
    verify = signed.is_signed_with

    def counting(unverified: signed.Unverified, key: signed.Key) -> bool:
        calls.append(unverified.text)
        return verify(unverified, key)

    monkeypatch.setattr(module, "is_signed_with", counting)
    for _ in range(3):
        assert found.verified(text).claims["sub"] == "ann"
    assert calls == [text]
    source.keys, source.version = [], 1
    with pytest.raises(RefusedTokenError):
        found.verified(text)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    found = of(PLAIN)
    for number in range(10):
        found.verified(token(sub=str(number)))
    assert len(found._good) == 3


def test_a_token_that_is_remembered_costs_at_most_60_microseconds() -> None:
    found = Signatures([Issuer("", [Counted([public("RS256")])])])
    text = token(pair("RS256"), "RS256", sub="ann", broadcaster={"subscribe": ["orders:7"] * 20})
    found.verified(text)
    best_s = min(_cost_s(found, text) for _ in range(20))
    assert best_s < 60e-6


def _cost_s(found: Signatures, text: str) -> float:
    began_s = time.thread_time()
    for _ in range(100):
        found.verified(text)
    return (time.thread_time() - began_s) / 100
