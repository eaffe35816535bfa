"""`broadcaster check` against servers that are good, bad, and not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broadcaster import Channel, EmbeddedRedis, Publisher, Settings
from broadcaster.commands.check import findings, of_server
from tests.command_line import Start, finished


async def test_check_reports_an_absent_redis(start: Start) -> None:
    status, lines, _ = await finished(
        await start("check", "--redis-url", "redis://127.0.0.1:1", env={"BROADCASTER_PROT": "1"})
    )
    assert status == 1
    assert any("problem" in line and "refused" in line for line in lines)
    assert any("BROADCASTER_PROT is not a setting" in line for line in lines)
    assert any("BROADCASTER_PORT?" in line for line in lines)
    status, lines, _ = await finished(await start("check"))
    assert (status, "BROADCASTER_REDIS_URL" in "".join(lines)) == (1, True)


async def test_check_reports_eviction_and_missing_rights(start: Start) -> None:
    config = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with EmbeddedRedis(*config) as redis:
        status, lines, _ = await finished(await start("check", "--redis-url", redis.url))
        assert status == 1
        (eviction,) = [line for line in lines if "eviction:" in line]
        assert eviction.startswith("problem")
        assert "allkeys-lru" in eviction
        assert any("maxmemory-policy noeviction" in line for line in lines)
        async with Publisher(redis.url) as publisher:
            client: Any = publisher.redis
            await client.config_set("maxmemory-policy", "noeviction")
            await client.set("orders", "no stream")
            await client.execute_command(
                *("ACL", "SETUSER", "reader", "on", ">secret", "~*"),
                *("+@read", "+@connection", "+xinfo|stream"),
            )
        url = redis.url.replace("//", "//reader:secret@")
        status, lines, _ = await finished(await start("check", "--redis-url", url))
        said = "\n".join(lines)
    assert status == 1
    assert "secret" not in said
    for expected in (
        "problem  channel orders: can't be read: WRONGTYPE",
        "ok       channel inventory: readable",
        "warning  clock: this user can't ask for Redis's time",
        "warning  channel inventory: this user can't publish",
        "problem  channel recommendations: nodes can't add requests",
    ):
        assert expected in said


async def test_check_is_content_with_a_good_server(start: Start, redis_url: str) -> None:
    status, lines, _ = await finished(
        await start("check", env={"BROADCASTER_REDIS_URL": redis_url})
    )
    assert status == 0
    assert any("ok" in line and "noeviction" in line for line in lines)


async def test_check_warns_of_ids_that_proxies_refuse(start: Start, redis_url: str) -> None:
    for shards, warned in ((250, False), (251, True)):
        channels = json.dumps({"many": {"path": "/v1/many", "shards": shards}})
        env = {"BROADCASTER_REDIS_URL": redis_url, "BROADCASTER_CHANNELS": channels}
        _, lines, _ = await finished(await start("check", env=env))
        assert any(f"{shards} shards make ids of" in line for line in lines) == warned


GOOD = {
    "redis_version": "7.2.4",
    "valkey_version": "8.1.0",
    "maxmemory_policy": "noeviction",
    "maxmemory": 0,
    "used_memory": 1,
    "aof_enabled": 1,
    "role": "master",
}


@pytest.mark.parametrize(
    ("fields", "level", "text"),
    [
        ({"valkey_version": "7.2.6"}, "problem", "Valkey 7.2.6"),
        ({"valkey_version": None, "redis_version": "6.2.14"}, "problem", "Redis 6.2.14"),
        ({"maxmemory_policy": "allkeys-lru"}, "warning", "harmless only as long as"),
        ({"maxmemory": 100, "used_memory": 95}, "warning", "95% of maxmemory"),
        ({"aof_enabled": 0}, "warning", "no append-only file"),
        ({"rdb_last_bgsave_status": "err"}, "problem", "snapshot failed"),
        ({"role": "slave"}, "warning", "replica"),
    ],
)
def test_check_judges_a_servers_info(fields: dict[str, Any], level: str, text: str) -> None:
    assert {found.level for found in of_server(GOOD)} == {"ok"}
    (bad,) = [found for found in of_server({**GOOD, **fields}) if found.level != "ok"]
    assert bad.level == level
    assert text in bad.text
    assert bad.advice


@pytest.mark.parametrize(
    ("secret", "level", "text"),
    [
        ("a secret of the tests, of 32 bytes", "ok", "1 settings"),
        ("short", "problem", "32 bytes"),
        ("file:/nowhere", "problem", "/nowhere"),
    ],
)
def test_check_reads_the_keys_of_tokens(secret: str, level: str, text: str) -> None:
    settings = Settings(token_secrets=[secret], redis_url="redis://127.0.0.1:1")
    (found,) = [one for one in findings(settings) if one.subject == "tokens"]
    assert found.level == level
    assert text in found.text


def test_check_says_nothing_of_tokens_where_there_are_none() -> None:
    assert "tokens" not in [
        one.subject for one in findings(Settings(redis_url="redis://127.0.0.1:1"))
    ]


@pytest.mark.parametrize(
    ("schema", "subject", "level", "text"),
    [
        ('{"type":"object"}', "channel pets", "ok", "1 JSON Schemas of event types"),
        ('{"type":"objec"}', "schemas", "problem", "stock.json': /type: it does not fit"),
        (None, "schemas", "problem", "stock.json': No such file"),
    ],
)
def test_check_reads_the_schemas(
    tmp_path: Path, schema: str | None, subject: str, level: str, text: str
) -> None:
    path = tmp_path / "stock.json"
    if schema is not None:
        path.write_text(schema)
    pets = Channel(name="pets", path="/pets", schemas={"stock": str(path)})
    settings = Settings(channels={"pets": pets}, redis_url="redis://127.0.0.1:1")
    (found,) = [one for one in findings(settings) if one.subject == subject]
    assert found.level == level
    assert text in found.text
