"""The settings of tokens: what goes together, and what is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broadcaster import ConfigurationError, load_settings
from broadcaster.core.access.claims import Expected, checked
from broadcaster.core.access.rights import RefusedTokenError

KEYS = {"https://id.example": "https://id.example/jwks.json"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"token_keys": KEYS}, "token_audience"),
        ({"token_keys": {"a": "http://id.example/jwks.json"}, "token_audience": "hub"}, "https://"),
        ({"token_keys": {"a": "http://127.0.0.1.evil/"}, "token_audience": "hub"}, "https://"),
        ({"token_cookie": "session", "cors_origins": ["*"]}, "by name"),
        ({"ticket_s": 901}, "at most 900"),
        ({"leeway_s": -1}, "at least 0"),
        ({"max_token_s": 0}, "above 0"),
    ],
)
def test_what_can_not_work_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings(**given)


@pytest.mark.parametrize("place", [*KEYS.values(), "http://localhost:81/x", "/run/id.pem"])
def test_keys_are_at_safe_places(place: str) -> None:
    found = load_settings(token_keys={"a": place}, token_audience="hub")
    assert found.token_keys == {"a": place}


@pytest.mark.parametrize("value", ["hunter2", '{"a": "hunter2"}', '["hunter2", 7]', "[[hunter2"])
@pytest.mark.parametrize("name", ["TOKEN_SECRETS", "TICKET_SECRETS"])
def test_a_secret_is_in_no_message(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"BROADCASTER_{name}", value)
    with pytest.raises(ConfigurationError) as info:
        load_settings()
    assert "hunter2" not in str(info.value)
    assert name in str(info.value)


def test_a_secret_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROADCASTER_TOKEN_SECRETS", '["hunter2"]')
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in settings.model_dump_json(exclude={"channels"})
    assert settings.token_secrets[0].get_secret_value() == "hunter2"


def test_a_revocation_is_kept_as_long_as_any_token_that_it_concerns_is_good() -> None:
    settings = load_settings(max_token_s=100, leeway_s=30)
    expected = Expected(leeway_s=settings.leeway_s, longest_s=settings.max_token_s)
    revoked_s = 1000.0
    claims = {"iat": revoked_s, "exp": revoked_s + 130}
    last_s = revoked_s + settings.revocation_s
    assert checked(claims, expected, last_s - 0.1)
    with pytest.raises(RefusedTokenError, match="expired"):
        checked(claims, expected, last_s)


def test_the_token_of_operators_may_be_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "operators"
    file.write_text("hunter2\n")
    monkeypatch.setenv("BROADCASTER_OPERATORS_TOKEN", f"file:{file}")
    settings = load_settings()
    assert settings.operators_token == "hunter2"
    assert "hunter2" not in repr(settings)
    for content in (b"", b" \n", b"\xff"):  # without a token, the routes would be open
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="OPERATORS_TOKEN"):
            load_settings()
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_settings(operators_token="file:/nowhere")
