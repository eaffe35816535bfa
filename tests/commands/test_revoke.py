"""`broadcaster revoke` puts a revocation where all nodes read it, and says what became of it."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result

from broadcaster.commands.main import main

KEY = "broadcaster.revocations"


def revoked(name: str, url: str) -> Result:
    return CliRunner().invoke(main, ["revoke", name, "--redis-url", url])


def test_a_revocation_is_stored_and_its_replicas_are_told(redis_url: str) -> None:
    result = revoked("ann", redis_url)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("revoked at ")
    assert result.output.endswith("replicas that have it: 0\n")


async def test_it_is_in_the_stream_of_the_settings(
    client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broadcaster import Settings
    from broadcaster.commands.revoke import revoke

    await revoke(Settings(redis_url=redis_url), "ann")
    assert [fields for _, fields in await client.xrange(KEY)] == [{b"name": b"ann"}]


@pytest.mark.parametrize("name", ["", "x" * 2000])
def test_a_name_that_can_be_no_subject_is_refused(name: str, redis_url: str) -> None:
    assert revoked(name, redis_url).exit_code == 1


def test_without_redis_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert revoked("ann", "redis://127.0.0.1:1").exit_code == 1


def test_without_a_stream_it_is_an_error(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROADCASTER_REVOCATIONS_KEY", "")
    assert "revocations_key" in revoked("ann", redis_url).output
