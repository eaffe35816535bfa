"""Settings that would do something else than they say are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broadcaster import ConfigurationError, load_settings
from broadcaster.settings import unknown_variables


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"drain_s": float("inf")}, "drain_s: Input should be a finite number"),
        ({"heartbeat_s": float("nan")}, "heartbeat_s: Input should be a finite number"),
        ({"cors_origins": ("*",), "cors_credentials": True}, "by name"),
        ({"channels": {"a": {"name": "x", "path": "/a"}}}, "leave the name out"),
        ({"channels": {"a": {"path": "/v1/events"}}}, "/v1/events, the hub's own"),
        ({"channels": {"a": {"path": "/{key}"}}}, "the hub's own"),
        ({"channels": {"a": {"path": "/v1/channels/a"}}}, "the hub's own"),
        ({"channels": {"a": {"path": "/a"}, "b": {"path": "/a"}}}, "the same path"),
        ({"retry_min_ms": 9, "retry_max_ms": 8}, "retry_min_ms"),
        ({"port": 9000, "metrics_port": 9000}, "another one than port"),
        ({"terminal_retry_ms": 0}, "terminal_retry_ms"),
        ({"terminal_retry_ms": 86_400_001}, "terminal_retry_ms"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings(**settings)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("max_conections = 3",
         "max_conections (in {file}): there is no such name; did you mean max_connections?"),
        ("[channel.a]\npath = '/a'",
         "channel (in {file}): there is no such name; did you mean channels?"),
        ("redis-url = ''", "did you mean redis_url?"),
        ("[channels.a]\npath = '/a'\nterminl = ['x']",
         "channels.a.terminl (in {file}): there is no such name; did you mean terminal?"),
        ("[channels.a]\npath = '/a'\nterminal = 'complete'",
         'channels.a.terminal (in {file}): expected a list, ["complete"], not "complete"'),
        ("[channels.a]\n", "channels.a.path (in {file}): it is required"),
        ("channels = ['a']", "expected a table for each channel: [channels.NAME]"),
        ("[channels]\na = '/a'", "channels.a (in {file}): expected a table with at least a path"),
        ("cors_origins = 'https://a.example'", 'expected a list, ["https://a.example"]'),
        ("maxlen = 'many'", '\n  maxlen (in {file}): expected a whole number, not "many"'),
        ("heartbeat_s = 0", "heartbeat_s (in {file}): expected above 0, not 0"),
        ("port = 99999", "port (in {file}): expected at most 65535, not 99999"),
        ("cors_credentials = 'maybe'", 'expected true or false, not "maybe"'),
        ("log_level = 'warn'", "'info', 'warning' or 'error', not \"warn\""),
        ("port = 8000\nport = 8001", "{file} can't be read as TOML"),
        ("maxlen =", "{file} can't be read as TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named_with_what_was_expected(
    tmp_path: Path, toml: str, said: str
) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(toml)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    assert said.format(file=file) in str(caught.value)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CORS_ORIGINS", "https://a.example", """expected JSON, such as '["https://a.example"]'"""),
        ("CORS_ORIGINS", "https://a, https://b", """such as '["https://a", "https://b"]'"""),
        ("CORS_ORIGINS", '["https://a', "expected JSON, and this is none: Unterminated string"),
        ("CHANNELS", "orders", """such as '{"NAME": {"path": "/v1/NAME"}}', not "orders\""""),
        ("CHANNELS", '{"a": {"pth": "/a"}}', "channels.a.pth (BROADCASTER_CHANNELS): there is no"),
        ("MAXLEN", "3k", 'maxlen (BROADCASTER_MAXLEN): expected a whole number, not "3k"'),
        ("ACCESS_LOG", "ja", 'expected true or false, not "ja"'),
    ],
)
def test_a_mistake_in_a_variable_is_named_with_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"BROADCASTER_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "BROADCASTER_" + name in str(caught.value)


def test_a_bound_that_cannot_work_is_named_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(maxlen="many")
    assert str(caught.value).count("maxlen") == 1


def test_unknown_variables_come_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "BROADCASTER_MAXLENN",
        "BROADCASTER_XYZZY",
        "broadcaster_port_",
        "broadcaster_port",
    ):
        monkeypatch.setenv(name, "3")
    assert unknown_variables() == {
        "BROADCASTER_MAXLENN": "did you mean BROADCASTER_MAXLEN?",
        "BROADCASTER_XYZZY": "remove it, or look for a typing error",
        "broadcaster_port_": "did you mean BROADCASTER_PORT?",
    }


def test_credentials_of_pages_that_are_named() -> None:
    origins = ("https://shop.example",)
    assert load_settings(cors_origins=origins, cors_credentials=True).cors_credentials
