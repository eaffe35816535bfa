"""Signatures: each key verifies its own algorithms, and no token chooses how it is verified."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broadcaster.core.access.rights import RefusedTokenError
from broadcaster.web.tokens import signed
from tests.web.tokens.issuers import SECRET, jwk, pair, pem, token

PUBLIC = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"]
PLAIN = signed.key_of_secret(SECRET.encode())


def made(header: dict[str, Any], claims: Any, key: bytes = b"") -> str:
    """Return a token whose parts are as they are given; signed with HMAC, if there is a key."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    body = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    signature = hmac.digest(key, body.encode(), "sha256") if key else b""
    return f"{body}.{encoded(signature)}"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_secret_verifies_hmac(algorithm: str) -> None:
    found = signed.read(token(algorithm=algorithm, sub="ann"))
    assert signed.is_signed_with(found, PLAIN)
    assert found.claims["sub"] == "ann"
    assert not signed.is_signed_with(found, signed.key_of_secret(b"x" * 64))


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_public_key_verifies_its_own_algorithms(algorithm: str) -> None:
    private = pair(algorithm)
    text = token(private, algorithm)
    (of_pem,) = signed.keys_of_pem(pem(private))
    (of_jwks,) = signed.keys_of_jwks(json.dumps({"keys": [jwk(algorithm, private)]}).encode())
    for key in (of_pem, of_jwks):
        assert signed.is_signed_with(signed.read(text), key)
        assert not signed.is_signed_with(signed.read(token(pair(algorithm, 1), algorithm)), key)


def test_a_secret_is_for_the_algorithms_that_it_is_long_enough_for() -> None:
    assert signed.key_of_secret(b"x" * 32).algorithms == {"HS256"}
    assert signed.key_of_secret(b"x" * 48).algorithms == {"HS256", "HS384"}
    with pytest.raises(ValueError, match="32 bytes"):
        signed.key_of_secret(b"x" * 31)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_a_token_without_a_signature_is_signed_with_no_key(name: str) -> None:
    found = signed.read(made({"alg": name, "typ": "JWT"}, {"sub": "ann"}))
    (public,) = signed.keys_of_pem(pem(pair("RS256")))
    assert not signed.is_signed_with(found, PLAIN)
    assert not signed.is_signed_with(found, public)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_the_text_of_a_public_key_is_no_secret(algorithm: str) -> None:
    text = pem(pair(algorithm))
    found = signed.read(made({"alg": "HS256"}, {"sub": "ann"}, text))
    (public,) = signed.keys_of_pem(text)
    assert not signed.is_signed_with(found, public)
    der = pair(algorithm).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for data in (text, der):
        with pytest.raises(ValueError, match="public key"):
            signed.key_of_secret(data)


def test_a_key_of_a_set_with_an_algorithm_is_for_that_one_alone() -> None:
    entry = jwk("RS256", pair("RS256"), alg="RS512", kid="a")
    (key,) = signed.keys_of_jwks(json.dumps({"keys": [entry]}).encode())
    assert key.algorithms == {"RS512"}
    assert key.id == "a"
    assert not signed.is_signed_with(signed.read(token(pair("RS256"), "RS256")), key)


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()},
        {"kty": "new"},
        {"kty": "RSA"},
        jwk("RS256", pair("RS256"), use="enc"),
        jwk("RS256", rsa.generate_private_key(65537, 1024)),
        jwk("RS256", pair("RS256"), alg="HS256"),
        jwk("RS256", pair("RS256"), alg=["RS256"]),
    ],
)
def test_what_can_verify_nothing_is_left_out_of_a_set(entry: dict[str, Any]) -> None:
    keys = signed.keys_of_jwks(json.dumps({"keys": [entry, jwk("ES256", pair("ES256"))]}).encode())
    algorithms = [key.algorithms for key in keys]
    assert [found for found in algorithms if found] == [{"ES256"}]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": {}}', b"<html>"])
def test_what_is_no_set_raises(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        signed.keys_of_jwks(body)


def test_a_set_has_a_bound() -> None:
    with pytest.raises(ValueError, match="100"):
        signed.keys_of_jwks(json.dumps({"keys": [{}] * 101}).encode())


def test_a_pem_file_may_have_several_keys() -> None:
    both = b"# of this year\n" + pem(pair("RS256")) + pem(pair("ES384"))
    assert len(signed.keys_of_pem(both)) == 2
    four = b"".join(pem(pair("ES256", number)) for number in range(4))
    assert len(signed.keys_of_pem(both + four)) == 6
    with pytest.raises(ValueError, match="more than 4 keys of a kind"):  # they would not be tried
        signed.keys_of_pem(both + four + pem(pair("ES256", 4)))


def test_a_file_without_a_usable_public_key_raises() -> None:
    odd = ec.generate_private_key(ec.SECP256K1())
    for data in (b"", SECRET.encode(), pem(rsa.generate_private_key(65537, 1024)), pem(odd)):
        with pytest.raises(ValueError, match=r".+"):
            signed.keys_of_pem(data)


ODD_HEADERS: list[dict[str, Any]] = [
    {},
    {"alg": 7},
    {"alg": "HS256", "typ": 1},
    {"alg": "HS256", "kid": 7},
    {"alg": "HS256", "crit": ["x"]},
]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "q",
        "q.b.c",
        "..",
        "é.é.é",
        "\udcff",
        token() + "x" * signed.MAX_BYTES,
        made({"alg": "HS256"}, ["no object"]),
        *(made(header, {}) for header in ODD_HEADERS),
    ],
)
def test_what_can_not_be_read_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(RefusedTokenError) as info:
        signed.read(text)
    assert not text or text not in str(info.value)


def test_the_type_is_read_without_its_prefix() -> None:
    assert signed.read(made({"alg": "HS256", "typ": "application/AT+JWT"}, {})).type == "at+jwt"
    assert signed.read(made({"alg": "HS256"}, {})).type == ""


def test_a_token_of_ours_can_be_read_by_others() -> None:
    text = signed.sign({"sub": "ann"}, PLAIN._replace(id="k"), "JWT")
    assert jwt.decode(text, SECRET, algorithms=["HS256"]) == {"sub": "ann"}
    assert jwt.get_unverified_header(text) == {"alg": "HS256", "typ": "JWT", "kid": "k"}
