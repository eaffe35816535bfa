"""The page of the demo may publish for a few minutes, and do nothing else."""

from __future__ import annotations

import time

import pytest

from broadcaster import Settings
from broadcaster.backend.memory import MemoryLog
from broadcaster.commands.demo_access import CHANNELS, access, page_token
from broadcaster.core.access.policy import Caller
from broadcaster.core.access.revocations import Revocations
from broadcaster.settings import load_settings
from broadcaster.web.tokens.setup import make_reader
from tests.nodes import running
from tests.wait import http_client


def settings(host: str = "127.0.0.1") -> Settings:
    return load_settings(redis_url="redis://unused", channels=CHANNELS, **access(host))


def test_a_token_publishes_for_five_minutes() -> None:
    made = settings()
    make = page_token(made)
    assert make is not None
    claims = make_reader(made, None, Revocations())(Caller({"authorization": f"Bearer {make()}"}))
    assert isinstance(claims, dict)
    assert claims["broadcaster"] == {
        "subscribe": [],
        "publish": ["orders", "inventory", "recommendations", "desk"],
    }
    assert 270 < claims["exp"] - time.time() - made.leeway_s <= 300


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "hub.example"])
def test_only_a_demo_on_a_loopback_address_makes_tokens(host: str) -> None:
    assert page_token(settings(host)) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "::1"])
def test_a_demo_on_a_loopback_address_makes_tokens(host: str) -> None:
    assert page_token(settings(host)) is not None


def test_each_demo_has_a_secret_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a secret of the environment, of more than 32 bytes"
    monkeypatch.setenv("BROADCASTER_TOKEN_SECRETS", f'["{secret}"]')
    (one,), (other,) = settings().token_secrets, settings().token_secrets
    assert one != other
    assert secret not in (one.get_secret_value(), other.get_secret_value())
    assert settings("192.0.2.7").token_secrets == ()


@pytest.mark.server
async def test_all_channels_of_the_demo_can_be_read_without_a_token() -> None:
    made = access("127.0.0.1")
    async with (
        running("", log=MemoryLog(), channels=CHANNELS, **made) as hub,
        http_client(base_url=hub.url) as http,
    ):
        listed = (await http.get("/v1/channels")).json()["channels"]
        assert [channel["channel"] for channel in listed] == list(CHANNELS)
        for name in CHANNELS:
            # Without a token, nothing is published.
            answer = await http.post(f"/v1/channels/{name}/events", json={"data": 1})
            assert answer.status_code == 401
