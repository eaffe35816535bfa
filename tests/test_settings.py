"""Settings that would do something else than they say are refused."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster import ConfigurationError, load_settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cors_origins": ("*",), "cors_credentials": True}, "by name"),
        ({"channels": {"a": {"name": "x", "path": "/a"}}}, "leave the name out"),
        ({"channels": {"a": {"path": "/v1/events"}}}, "/v1/events, the hub's own"),
        ({"channels": {"a": {"path": "/{key}"}}}, "the hub's own"),
        ({"channels": {"a": {"path": "/v1/channels/a"}}}, "the hub's own"),
        ({"channels": {"a": {"path": "/a"}, "b": {"path": "/a"}}}, "the same path"),
        ({"retry_min_ms": 9, "retry_max_ms": 8}, "retry_min_ms"),
        ({"terminal_retry_ms": 0}, "terminal_retry_ms"),
        ({"terminal_retry_ms": 86_400_001}, "terminal_retry_ms"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings(**settings)


def test_credentials_of_pages_that_are_named() -> None:
    origins = ("https://shop.example",)
    assert load_settings(cors_origins=origins, cors_credentials=True).cors_credentials
