"""`broadcaster tail` as a user runs it."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from functools import partial
from typing import Any

import pytest

from broadcaster import Publisher
from broadcaster.commands.tail import address
from tests.command_line import SCRIPT, Start, at_least, finished, ready
from tests.wait import PATIENCE_S, until


async def test_tail_misses_nothing_and_repeats_nothing_while_nodes_die(
    start: Start, redis_url: str, publisher: Publisher
) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    await ready(url)
    tail = await start("tail", "inventory", "--base-url", url)
    await until(lambda: len(tail.out) == 1)  # stream.live
    published: list[str] = []

    enough = asyncio.Event()

    async def publish() -> None:
        while not enough.is_set():
            batch = [("inventory", "n", "", {"n": n}) for n in range(20)]
            published.extend(str(id_) for id_ in await publisher.publish_many(batch))
            await asyncio.sleep(0.002)

    publishing = asyncio.create_task(publish())
    for number in (signal.SIGKILL, signal.SIGTERM):
        await until(partial(at_least, tail.out, len(tail.out) + 50))
        await node.stop(number)
        port = url.rpartition(":")[2]
        node = await start("serve", "--port", port, "--redis-url", redis_url)
    await until(partial(at_least, tail.out, len(tail.out) + 50))
    enough.set()
    await publishing
    await until(lambda: any(published[-1] in line for line in tail.out[-2:]))
    events = [json.loads(line) for line in tail.out]
    assert "stream.reset" not in {event["type"] for event in events}
    assert [event["id"] for event in events if event["type"] == "n"] == published
    assert await tail.stop(signal.SIGINT) == 0
    assert "again in" in "".join(tail.err)
    assert "Traceback" not in "".join(tail.err)


async def test_tail_ends_with_the_stream_a_refusal_or_its_pipe(
    start: Start, redis_url: str, publisher: Publisher
) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    base = ("--base-url", await node.url())
    await ready(base[1])
    for type_ in ("packed", "complete"):
        await publisher.publish("orders", type=type_, key="o1", data={})
    status, lines, _ = await finished(await start("tail", "orders", "--key", "o1", *base))
    assert (status, [json.loads(line)["type"] for line in lines]) == (0, ["packed", "complete"])

    status, _, said = await finished(await start("tail", "recommendations", *base))
    assert (status, "needs a key" in said) == (1, True)
    status, _, said = await finished(await start("tail", "/v1/nope", *base))
    assert (status, "404" in said) == (1, True)
    assert (await finished(await start("tail", "/v1/x", "--key", "k", *base)))[0] == 2

    quiet = await asyncio.create_subprocess_shell(
        f"{SCRIPT} tail inventory {' '.join(base)}; echo $? >&2", stdout=PIPE, stderr=PIPE
    )
    assert quiet.stdout
    assert b"stream.live" in await quiet.stdout.readline()
    quiet._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # as `head` does
    async with asyncio.timeout(PATIENCE_S):
        assert quiet.stderr
        assert await quiet.stderr.read() == b"0\n"


async def test_a_state_comes_without_ids_before_what_follows(
    start: Start, redis_url: str, publisher: Publisher, client: Any
) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    base = ("--base-url", await node.url())
    await ready(base[1])
    for pet, stock in (("1", 5), ("2", 3), ("1", 4)):
        await publisher.publish("inventory", type="stock", key=pet, data={"pet": pet, "n": stock})
    tail = await start("tail", "inventory", "--from", "state", *base)
    await tail.line("stream.live")
    live = await publisher.publish("inventory", type="stock", key="1", data={"pet": "1", "n": 3})
    await tail.line(str(live))
    lines = [json.loads(line) for line in tail.out]
    assert [line["type"] for line in lines] == [
        *("stream.state", "stock", "stock", "stream.live", "stock"),
    ]
    assert [line["id"] for line in lines[1:3]] == ["", ""]
    assert {line["data"]["pet"]: line["data"]["n"] for line in lines[1:3]} == {"1": 4, "2": 3}
    assert lines[-1]["id"] == str(live)

    await client.delete("inventory")  # its clients are reset, and get the state of what is there
    await publisher.publish("inventory", type="stock", key="3", data={"pet": "3", "n": 1})
    await tail.line('"pet":"3"')
    more = [json.loads(line) for line in tail.out[5:]]
    assert more[0]["type"] == "stream.reset"
    assert more[0]["data"]["state"] is True
    in_state = True
    for line in more[1:]:
        if line["type"].startswith("stream."):
            in_state = line["type"] == "stream.state"
        else:
            assert bool(line["id"]) != in_state


@pytest.mark.parametrize(
    ("target", "keys", "url"),
    [
        ("a,b", ("x&y",), "http://h/v1/events?channel=a%2Cb&key=x%26y&type=t&from=10m"),
        ("/v1/a/stream?x=1", (), "http://h/v1/a/stream?x=1&type=t&from=10m"),
        ("https://i/s", (), "https://i/s?type=t&from=10m"),
    ],
)
def test_arguments_of_tail_become_a_url(target: str, keys: tuple[str, ...], url: str) -> None:
    assert address(target, "http://h/", keys, ("t",), "10m") == url
