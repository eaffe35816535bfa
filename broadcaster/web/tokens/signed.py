"""Reads, verifies and makes signed tokens (JWT). The only importer of PyJWT and cryptography.

A key knows its algorithms: a secret is for HMAC alone, and a public key never is. So a token can't
choose how it is verified. PyJWT checks signatures; `core.access.claims` checks what the tokens say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from broadcaster.core.access.rights import RefusedTokenError

MAX_BYTES = 16 * 1024
"""The most bytes of a token. To verify one costs time in proportion to its length."""

MOST_TRIED = 4
"""The most keys of one place that a token is tried with, if neither names the other by a key id.

To try one of them costs up to a millisecond, for each token that a client makes up.
"""

LEAST_SECRET_BYTES = 32
"""The least bytes of a secret.

"A key of the same size as the hash output (for instance, 256 bits for "HS256") or larger MUST be
used with this algorithm." https://www.rfc-editor.org/rfc/rfc7518#section-3.2
"""

_HMAC = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA = frozenset({"RS256", "RS384", "RS512"})
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
PUBLIC_ALGORITHMS = _RSA | {*_CURVES.values(), "EdDSA"}
"""The algorithms that a public key is for."""
_LEAST_RSA_BITS = 2048
_MAX_KEYS = 100
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class Key(NamedTuple):
    """A key that verifies tokens.

    Attributes:
        id: its name; None if it has none.
        algorithms: the only ones that it is used with.
        material: of PyJWT.
    """

    id: str | None
    algorithms: frozenset[str]
    material: Any


class Unverified(NamedTuple):
    """A token as it was sent. Nothing in it is proven.

    Attributes:
        text: all of it.
        algorithm: of its signature.
        key_id: the name of the key; None if the token has none.
        type: of the token, such as `JWT`, in lower case; empty if it has none.
        claims: what it says.
        signature: the last part of the text, decoded.
    """

    text: str
    algorithm: str
    key_id: str | None
    type: str
    claims: Mapping[str, Any]
    signature: bytes


def read(text: str) -> Unverified:
    """Read a token without a proof of anything.

    Raises:
        RefusedTokenError: it is no signed token, or too long.
    """
    if len(text) > MAX_BYTES:
        raise RefusedTokenError(f"the token has more than {MAX_BYTES} bytes")
    try:
        both = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise RefusedTokenError("this is no token that could be read") from error
    header, claims = both["header"], both["payload"]
    algorithm, type_ = header.get("alg"), header.get("typ", "")
    if not isinstance(algorithm, str) or not isinstance(type_, str):
        raise RefusedTokenError("the token's header can't be read")
    # A common prefix of media types may be left out:
    # https://www.rfc-editor.org/rfc/rfc7515#section-4.1.9
    type_ = type_.lower().removeprefix("application/")
    return Unverified(text, algorithm, header.get("kid"), type_, claims, both["signature"])


def is_signed_with(token: Unverified, key: Key) -> bool:
    """Return True if this key has made the signature, by an algorithm that is the key's own.

    The token was read already, and the key was checked when it was made. To have PyJWT do both
    again would take longer than an HMAC.
    """
    if token.algorithm not in key.algorithms:
        return False
    signed, _, _ = token.text.rpartition(".")
    verifier = jwt.get_algorithm_by_name(token.algorithm)
    return verifier.verify(signed.encode(), key.material, token.signature)


def sign(claims: Mapping[str, Any], key: Key, type_: str) -> str:
    """Return a token, signed with HS256.

    Args:
        claims: values that JSON can hold.
        key: of `key_of_secret`.
        type_: of the token.
    """
    headers = {"typ": type_} | ({"kid": key.id} if key.id else {})
    return jwt.encode(dict(claims), key.material, algorithm="HS256", headers=headers)


def key_of_secret(secret: bytes, id_: str | None = None) -> Key:
    """Return the key of a secret, for the algorithms that it is long enough for.

    Raises:
        ValueError: it is too short, or is itself a public key.
    """
    if len(secret) < LEAST_SECRET_BYTES:
        raise ValueError(f"a secret has {LEAST_SECRET_BYTES} bytes or more")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError as error:
        raise ValueError("a public key is no secret") from error
    return Key(
        id_, frozenset(name for name, least in _HMAC.items() if len(secret) >= least), secret
    )


def keys_of_pem(data: bytes) -> list[Key]:
    """Return the public keys of a PEM file.

    Raises:
        ValueError: there is none, one can't be used, or more of a kind than a token is tried with.
    """
    found = [load_pem_public_key(block) for block in _PEM.findall(data)]
    if not found:
        raise ValueError("there is no public key in PEM form")
    keys = [Key(None, _algorithms(key), key) for key in found]
    if max(Counter(key.algorithms for key in keys).values()) > MOST_TRIED:
        raise ValueError(f"there are more than {MOST_TRIED} keys of a kind, and they have no ids")
    return keys


def keys_of_jwks(data: bytes) -> list[Key]:
    """Return the keys of a JWK Set (RFC 7517) that can verify signatures. It ignores all others.

    Raises:
        ValueError: this is no JWK Set, or it has too many keys.
    """
    found = orjson.loads(data)
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise ValueError(f"this is no JWK Set of {_MAX_KEYS} keys at most")
    return [key for jwk in listed if isinstance(jwk, dict) for key in _keys_of_jwk(jwk)]


def _keys_of_jwk(jwk: dict[str, Any]) -> list[Key]:
    if jwk.get("use", "sig") != "sig":
        return []
    id_, only = jwk.get("kid"), jwk.get("alg")
    try:
        material = jwt.PyJWK(jwk).key
        algorithms = _algorithms(material)
    except (jwt.PyJWTError, ValueError, TypeError):  # such as an `alg` that is a list
        return []
    if only is not None:
        algorithms &= {only}
    return [Key(id_ if isinstance(id_, str) else None, algorithms, material)]


def _algorithms(key: Any) -> frozenset[str]:
    """Return the algorithms of a public key.

    Raises:
        ValueError: there are none. A secret that was published (`oct`) is no public key.
    """
    if isinstance(key, RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise ValueError(f"an RSA key has {_LEAST_RSA_BITS} bits or more")
        return _RSA
    if isinstance(key, Ed25519PublicKey):
        return frozenset({"EdDSA"})
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return frozenset({_CURVES[key.curve.name]})
    raise ValueError("the key is of no kind that is known here")
