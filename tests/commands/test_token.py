"""`broadcaster token` makes tokens that a hub with the same settings accepts."""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner

from broadcaster import Settings
from broadcaster.commands.main import main
from broadcaster.core.access.policy import Caller
from broadcaster.core.access.revocations import Revocations
from broadcaster.web.tokens.setup import make_reader

SECRET = "a secret of the tests, of more than 32 bytes"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROADCASTER_TOKEN_SECRETS", f'["{SECRET}", "{SECRET} of last year"]')
    monkeypatch.setenv("BROADCASTER_TOKEN_ISSUER", "shop")
    monkeypatch.setenv("BROADCASTER_TOKEN_AUDIENCE", "hub")


def made(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["token", *arguments])
    assert result.exit_code == status, result.output
    return result.output.strip()


def test_a_hub_with_the_same_settings_accepts_it() -> None:
    text = made("--subscribe", "inventory", "--subscribe", "orders:7", "--publish", "orders:*",
                "--subject", "ann", "--expires", "15m")  # fmt: skip
    claims = make_reader(Settings(), None, Revocations())(
        Caller({"authorization": f"Bearer {text}"})
    )
    assert isinstance(claims, dict)
    assert claims["sub"] == "ann"
    assert claims["broadcaster"] == {
        "subscribe": ["inventory", "orders:7"],
        "publish": ["orders:*"],
    }
    assert 890 < claims["exp"] - time.time() - 30 <= 900
    assert claims["jti"]


@pytest.mark.parametrize("expires", ["0s", "31d", "soon", "-1h", "1", "1y", "1.5h"])
def test_a_time_that_no_hub_would_accept_is_refused(expires: str) -> None:
    assert "1h" in made("--expires", expires, status=2)


def test_a_right_that_no_hub_would_accept_is_refused() -> None:
    assert "colon" in made("--subscribe", "orders:", status=2)


def test_without_a_secret_none_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROADCASTER_TOKEN_SECRETS")
    assert "token_secrets" in made(status=2)
