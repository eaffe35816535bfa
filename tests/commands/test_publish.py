"""`broadcaster publish` as a user runs it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import msgpack

from broadcaster import Publisher
from tests.command_line import Start, at_least, finished, ready
from tests.wait import until


async def test_publish_reads_the_output_of_tail(
    start: Start, redis_url: str, publisher: Publisher
) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    await ready(url)
    sent = [
        ("stock-change", '{"n": 12345678901234567890123, "x": 1.50}'),
        ("message", "two\nlines, 🐟 \u2028"),
        ("message", '"a JSON string"'),
        ("message", ""),
        ("message", "1.10"),
        ("message", "1e400"),
        ("message", r'{"a":1,"a":2,"\u00e9":"\ud83d\ude00 \ud800"}'),
        ("message", '{\n  "n": 1.10\n}'),
        ("message", "  [1, 2]  "),
        ("message", "NaN"),
        ("message", '{"é":null}'),
    ]
    for type_, data in sent:
        await publisher.publish("inventory", type=type_, key="7", data=data)
    tail = ("tail", "inventory", "--base-url", url, "--from", "earliest", "--count")
    _, lines, _ = await finished(await start(*tail, str(len(sent))))
    events = [line for line in lines if '"stream.' not in line]
    assert json.loads(events[0])["data"]["x"] == 1.5  # JSON, where it can be
    status, ids, said = await finished(
        await start("publish", "inventory", "--redis-url", redis_url), "\n".join([*events, ""])
    )
    assert (status, len(ids), said) == (0, len(sent), "")
    redis: Any = publisher.redis
    stored = await redis.xrange("inventory", min=f"({ids[0]}")
    first = await redis.xrange("inventory", ids[0], ids[0])
    assert [msgpack.unpackb(fields[b"m"])[2] for _, fields in (*first, *stored)] == [
        data for _, data in sent
    ]


async def test_publish_names_the_line_that_is_no_event(start: Start, redis_url: str) -> None:
    publish = ("publish", "inventory", "--redis-url", redis_url)
    for bad, why in (
        ("{", "line 4 is not JSON"),
        ('{"type": "t"}', "line 4: expected an object like"),
        ('{"type": "stream.live", "data": 1}', "line 4: type 'stream.live'"),
    ):
        given = f'{{"data": 1}}\n\n{{"type": "t", "key": "k", "data": [2]}}\n{bad}\n{{"data": 3}}\n'
        status, ids, said = await finished(await start(*publish), given)
        assert (status, len(ids)) == (1, 2)
        assert why in said
        assert "2 events were published" in said


async def test_publish_names_the_line_that_does_not_fit_its_schema(
    start: Start, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "t.json").write_text('{"minimum": 0}')
    config = tmp_path / "hub.toml"
    config.write_text(f'[channels.a]\npath="/a"\n[channels.a.schemas]\nt="{tmp_path}/t.json"\n')
    publish = ("publish", "a", "--redis-url", redis_url, "--config", str(config))
    given = '{"type":"t","data":1}\n{"type":"t","data":-1}\n'
    status, ids, said = await finished(await start(*publish), given)
    assert (status, len(ids)) == (1, 1)
    assert 'line 2: the data: it does not fit "minimum": 0. 1 events were published' in said
    one = (*publish, "--type", "t", "--data", "-1")
    status, ids, said = await finished(await start(*one))
    assert (status, ids, 'does not fit "minimum"' in said) == (1, [], True)


async def test_publish_stores_an_event_with_an_id_once(
    start: Start, redis_url: str, client: Any
) -> None:
    publish = ("publish", "inventory", "--redis-url", redis_url)
    given = '{"data":1,"id":"a"}\n{"data":2}\n{"data":3,"id":"b"}\n'
    (_, first, _), (_, again, _) = [await finished(await start(*publish), given) for _ in range(2)]
    assert [one == other for one, other in zip(first, again, strict=True)] == [True, False, True]
    assert await client.xlen("inventory") == 4
    status, ids, said = await finished(await start(*publish), '{"data":2}\n{"data":9,"id":"a"}\n')
    assert (status, len(ids)) == (1, 1)
    assert "line 2: its id was used for another event" in said


async def test_publish_does_not_wait_for_more(start: Start, redis_url: str) -> None:
    publish = await start("publish", "inventory", "--redis-url", redis_url)
    for count in (1, 2):
        publish.stdin.write(b'{"data": 1}\n')
        await until(partial(at_least, publish.out, count))


async def test_publish_refuses_invalid_options(start: Start) -> None:
    away = ("--redis-url", "redis://127.0.0.1:1")
    status, _, said = await finished(await start("publish", "nope", "--data", "1", *away))
    assert (status, "inventory" in said) == (2, True)
    status, _, said = await finished(await start("publish", "inventory", "--data", "1", *away))
    assert (status, "not available" in said) == (1, True)
    status, _, said = await finished(await start("publish", "inventory", *away), '{"data": 1}\n')
    assert (status, "Nothing was published" in said) == (1, True)
    assert (await finished(await start("publish", "inventory", "--key", "7", *away)))[0] == 2
