"""What tokens cost: `python -m bench.tokens [--clients N]`.

All clients of one node send a token, each its own, and those of the other send none. See
`bench.pair`. A node remembers a number of tokens, however many clients it has. They are there
before memory is measured. The time of the check itself is measured in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import click
import jwt

from bench.pair import Variant, compare, plain_request
from broadcaster.app import make_node
from broadcaster.core.access.policy import Caller, Denied
from broadcaster.settings import load_settings
from broadcaster.web.tokens.signatures import REMEMBERED

_SECRET = "a secret of the benchmark, of 64 bytes: 0123456789abcdef01234567"
_SETTINGS: dict[str, Any] = {"token_secrets": [_SECRET]}
_LIVES_S = 3600
_CHECKS = 2000


@cache
def _token(number: int) -> str:
    """Return the token of a subject of its own."""
    now_s = int(time.time())
    claims = {
        "sub": f"user-{number}",
        "jti": f"token-{number}",
        "iat": now_s,
        "exp": now_s + _LIVES_S,
        "broadcaster": {"subscribe": ["inventory", f"orders:{number}"]},
    }
    return jwt.encode(claims, _SECRET, algorithm="HS256")


def _request(number: int) -> bytes:
    head = f"Authorization: Bearer {_token(number)}\r\n\r\n"
    return plain_request(number).removesuffix(b"\r\n") + head.encode()


def _heads(request: Callable[[int], bytes]) -> list[bytes]:
    """Return requests that open no stream, with as many other tokens as a node remembers."""
    numbers = range(-REMEMBERED, 0)
    return [request(number).replace(b"GET", b"HEAD", 1) for number in numbers]


def _checks_us() -> tuple[float, float]:
    """Return the CPU time of checking a token that is new, and one that was seen, in µs."""
    read = make_node(load_settings(redis_url="redis://localhost", **_SETTINGS)).verifier
    assert read is not None
    callers = [Caller({"authorization": f"Bearer {_token(n)}"}, "", "") for n in range(_CHECKS)]

    def check(some: Sequence[Caller]) -> float:
        began_s = time.process_time()
        for caller in some:
            assert not isinstance(read(caller), Denied)
        return (time.process_time() - began_s) / len(some) * 1e6

    return check(callers), check(callers[-1:] * _CHECKS)


@click.command()
@click.option("--clients", default=1000, show_default=True, help="of each node.")
@click.option("--rounds", default=5, show_default=True, help="of deliveries.")
def main(clients: int, rounds: int) -> None:
    """Print the figures of both nodes, and the time of a check."""
    new_us, seen_us = _checks_us()
    print(f"a check of a new token {new_us:.1f} µs, of one that was seen {seen_us:.1f} µs")
    open_ = Variant("open", {}, plain_request, _heads(plain_request))
    tokens = Variant("tokens", _SETTINGS, _request, _heads(_request))
    compare([open_, tokens], clients, rounds)


if __name__ == "__main__":
    main()
