"""Issuers of tokens for tests: key pairs, signed tokens, and a JWK Set that a server publishes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.servers import serving

SECRET = "a secret of the tests, of 64 bytes: 0123456789abcdef0123456789ab"
ISSUER = "https://id.example"


def pair(algorithm: str, number: int = 0) -> Any:
    """Return a private key, the same each time."""
    return _pair(algorithm, number)


@cache
def _pair(algorithm: str, _: int) -> Any:
    if algorithm.startswith("RS"):
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    return ec.generate_private_key(curves[algorithm])


def pem(private: Any) -> bytes:
    """Return the public key in PEM form."""
    public = private.public_key()
    found: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def jwk(algorithm: str, private: Any, **more: Any) -> dict[str, Any]:
    """Return the public key as a JWK."""
    maker = jwt.get_algorithm_by_name(algorithm)
    public: dict[str, Any] = json.loads(maker.to_jwk(private.public_key()))
    return {**public, **more}


def token(key: Any = SECRET, algorithm: str = "HS256", *, kid: str = "", **claims: Any) -> str:
    """Return a token that lives for an hour. A claim that is None is left out."""
    now_s = int(time.time())
    said = {"iat": now_s, "exp": now_s + 3600, **claims}
    headers = {"kid": kid} if kid else None
    kept = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers=headers)


class KeyServer:
    """Publishes a JWK Set.

    Attributes:
        url: of the set.
        keys: that are in it.
        status: of the answer; 0 closes the connection without one.
        asked: how often it was asked.
        asked_with: the head of the last request.
        body: of the answer; None is the set.
        encoding: that the answer names.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: list[dict[str, Any]] = []
        self.status = 200
        self.asked = 0
        self.body: bytes | None = None
        self.encoding = ""
        self.asked_with = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_with = await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        if self.status:
            head = f"HTTP/1.1 {self.status} -\r\ncontent-length: {len(body)}\r\nlocation: /\r\n"
            encoding = f"content-encoding: {self.encoding}\r\n" if self.encoding else ""
            writer.write(f"{head}{encoding}\r\n".encode() + body)
        writer.close()


@asynccontextmanager
async def key_server() -> AsyncIterator[KeyServer]:
    """Serve a JWK Set on a free port."""
    made: list[KeyServer] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await made[0].answer(reader, writer)

    async with serving(answer) as port:
        made.append(KeyServer(f"http://127.0.0.1:{port}/jwks.json"))
        yield made[0]
