"""The commands as a user runs them: real processes, a real Valkey, real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broadcaster import Publisher
from broadcaster.client.source import EventSource
from broadcaster.commands import processes, supervisor
from broadcaster.commands.tail import address
from tests.command_line import SCRIPT, Start, finished, ready, starting
from tests.wait import PATIENCE_S, http_client, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts commands; all end with the test."""
    async with starting() as start:
        yield start


# serve


async def test_serve_ends_streams_and_exits_with_0_on_sigterm(start: Start, redis_url: str) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    async with http_client(base_url=url) as client:
        await ready(url)
        async with client.stream("GET", "/v1/inventory/stream") as response:
            pieces = response.aiter_text()
            assert "retry:" in await anext(pieces)
            node.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                rest = "".join([piece async for piece in pieces])
    assert "retry:" in rest  # the farewell; and a response cut off would have raised
    assert await node.ended() == 0
    assert "Ctrl-C" in node.out[0]
    assert "Traceback" not in "".join(node.err)


async def test_ctrl_c_is_a_clean_stop_too(start: Start, redis_url: str) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    await ready(await node.url())
    assert await node.stop(signal.SIGINT) == 0
    assert node.err == []


async def test_serve_says_what_is_wrong_with_its_settings(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("drain_s = 0\nhearbeat_s = 3\n")
    status, _, said = await finished(await start("serve"))
    assert (status, "--redis-url" in said) == (2, True)
    status, _, said = await finished(await start("serve", "--redis-url", "redis://h:port"))
    assert (status, "looks like" in said) == (2, True)
    status, _, said = await finished(await start("serve", "--config", str(config)))
    assert (status, "drain_s" in said, "hearbeat_s" in said) == (2, True, True)
    assert "Traceback" not in said


async def test_a_port_in_use_is_told_at_once(start: Start) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with taken:
        port = str(taken.sockets[0].getsockname()[1])
        nowhere = ("--port", port, "--redis-url", "redis://127.0.0.1:1")
        for command in (("serve", *nowhere), ("serve", *nowhere, "--workers", "2"), nowhere[:2]):
            command = command if command[0] == "serve" else ("demo", *command)
            status, out, said = await finished(await start(*command))
            assert (status, f"port {port}" in said, out) == (2, True, [])


def pair(pid: int) -> list[int]:
    """The children of a process, if there are two."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found] if len(found) == 2 else []


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@linux
async def test_several_processes_serve_one_port_and_are_replaced(
    start: Start, redis_url: str, publisher: Publisher, client: Any
) -> None:
    node = await start("serve", "--port", "0", "--workers", "2", env={
        "BROADCASTER_REDIS_URL": redis_url
    })  # fmt: skip
    url = await node.url()
    await ready(url)
    before = await until(lambda: pair(node.process.pid))
    port = url.rpartition(":")[2]

    async def both() -> bool:
        names = [name.decode() for name in await client.hkeys("broadcaster.nodes")]
        return len(names) == 2 and all(f":{port}/" in name for name in names)

    await until(both)  # each knows the port that the parent was given
    opened: Counter[str] = Counter()
    sources = [
        EventSource(f"{url}/v1/inventory/stream", on_change=lambda t, _: opened.update([t]))
        for _ in range(24)
    ]
    seen = [asyncio.create_task(ids_of(source, 1)) for source in sources]
    await until(lambda: opened[""] >= 24)
    assert await both_have(url, 24)
    os.kill(before[0], signal.SIGKILL)
    await node.line(f"{before[0]} was ended by SIGKILL")
    broken = await until(lambda: opened.total() - opened[""])
    assert 0 < broken < 24  # each of the two had some
    after = await until(lambda: pair(node.process.pid))
    assert len({*before, *after}) == 3
    await until(lambda: opened[""] >= 24 + broken)
    # The new process may still be starting: those who had been with the old one are all with the
    # other one then.
    await until(partial(both_have, url, 24))
    id_ = await publisher.publish("inventory", data=1)
    assert await asyncio.gather(*seen) == [[str(id_)]] * 24
    assert await node.stop(signal.SIGINT) == 0
    assert none_exists(after)


async def test_a_process_that_can_not_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([BlockingIOError("too many processes"), KeyboardInterrupt()])

    async def start(*_: object, **__: object) -> None:
        raise next(answers)

    monkeypatch.setattr(processes, "start", start)
    with pytest.raises(KeyboardInterrupt):
        await supervisor.keep(supervisor.Child(1, [], ""), {}, 1.0)
    assert "process 1 can't be started, trying again: too many processes" in caplog.text


async def both_have(url: str, count: int) -> bool:
    """Whether the processes have so many open streams, as either of the two says of both."""
    async with http_client() as http:
        text = (await http.get(f"{url}/metrics")).text
    states = re.findall(r'_connections\{process="(\d)",state="\w+"\} (\S+)', text)
    both = {process for process, _ in states} == {"0", "1"}
    return both and sum(float(number) for _, number in states) == count


async def ids_of(source: EventSource, count: int) -> list[str]:
    found: list[str] = []
    async with aclosing(source.events()) as events:
        async for event in events:
            if not event.type.startswith("stream."):
                found.append(event.id)
                if len(found) == count:
                    break
    return found


# demo


def family(pid: int) -> dict[int, str]:
    """A process and all that descend from it: their ids, with the beginnings of their commands."""
    parents, commands = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
    members = {pid}
    while found := {child for child, parent in parents.items() if parent in members} - members:
        members |= found
    return {member: commands[member] for member in members}


@linux
async def test_the_demo_shows_events_and_leaves_nothing_behind(start: Start) -> None:
    demo = await start("demo", "--port", "0")
    url = (await demo.line("The page")).split()[2].rstrip("/")
    assert len(await ids_of(EventSource(f"{url}/v1/inventory/stream"), 3)) == 3
    curl = (await demo.line("One order")).split()[-1]
    assert await ids_of(EventSource(curl), 1)
    await demo.line("clients 0  events/s ")
    members = family(demo.process.pid)
    assert len(members) == 5  # itself, Valkey, three workers
    (worker,) = [pid for pid, command in members.items() if "workers orders" in command]
    os.kill(worker, signal.SIGKILL)
    await demo.line("worker orders was ended by SIGKILL")
    assert await demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in "".join(demo.err)
    assert none_exists(members)


@linux
async def test_a_demo_that_is_killed_leaves_nothing_behind(start: Start) -> None:
    demo = await start("demo", "--port", "0")
    await demo.line("The page")
    members = family(demo.process.pid)
    assert len(members) == 5
    await demo.stop(signal.SIGKILL)
    await until(partial(none_exists, members))


@linux
async def test_a_demo_that_is_stopped_while_it_starts_leaves_nothing_behind(start: Start) -> None:
    for count in (2, 4):
        demo = await start("demo", "--port", "0")
        members = await until(partial(family_of, demo.process.pid, count))
        assert await demo.stop(signal.SIGTERM) == 0
        assert "Traceback" not in "".join(demo.err)
        await until(partial(none_exists, members))


def family_of(pid: int, count: int) -> dict[int, str]:
    found = family(pid)
    return found if len(found) >= count else {}


def none_exists(pids: Iterable[int]) -> bool:
    return not any(map(exists, pids))


# publish and tail


def at_least(lines: list[str], count: int) -> bool:
    return len(lines) >= count


async def test_what_tail_writes_publish_reads_back(start: Start, redis_url: str) -> None:
    node = await start("serve", "--port", "0", "--redis-url", redis_url)
    url = await node.url()
    await ready(url)
    sent = [
        ("stock-change", '{"n": 12345678901234567890, "x": 1.50}'),
        ("message", "two\nlines, 🐟 \u2028"),
        ("message", '"a JSON string"'),
        ("message", ""),
    ]
    for type_, data in sent:
        one = await start("publish", "inventory", "--type", type_, "--key", "7", "--data", data,
                          "--redis-url", redis_url)  # fmt: skip
        assert (await finished(one))[0] == 0
    tail = ("tail", "inventory", "--base-url", url, "--from", "earliest", "--count")
    _, lines, _ = await finished(await start(*tail, "4"))
    events = [line for line in lines if '"stream.' not in line]
    status, ids, said = await finished(
        await start("publish", "inventory", "--redis-url", redis_url), "\n".join([*events, ""])
    )
    assert (status, len(ids), said) == (0, 4, "")
    _, lines, _ = await finished(await start(*tail, "8"))
    again = [json.loads(line) for line in lines if '"stream.' not in line]
    assert [(event["type"], event["data"]) for event in again[-4:]] == [
        ("stock-change", {"n": 12345678901234567890, "x": 1.5}),
        *sent[1:],
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


async def test_publish_does_not_wait_for_more(start: Start, redis_url: str) -> None:
    publish = await start("publish", "inventory", "--redis-url", redis_url)
    for count in (1, 2):
        publish.stdin.write(b'{"data": 1}\n')
        await until(partial(at_least, publish.out, count))


async def test_publish_refuses_what_can_not_work(start: Start) -> None:
    away = ("--redis-url", "redis://127.0.0.1:1")
    status, _, said = await finished(await start("publish", "nope", "--data", "1", *away))
    assert (status, "inventory" in said) == (2, True)
    status, _, said = await finished(await start("publish", "inventory", "--data", "1", *away))
    assert (status, "not available" in said) == (1, True)
    status, _, said = await finished(await start("publish", "inventory", *away), '{"data": 1}\n')
    assert (status, "Nothing was published" in said) == (1, True)
    assert (await finished(await start("publish", "inventory", "--key", "7", *away)))[0] == 2


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


@pytest.mark.parametrize(
    ("target", "keys", "url"),
    [
        ("a,b", ("x&y",), "http://h/v1/events?channel=a%2Cb&key=x%26y&type=t&from=10m"),
        ("/v1/a/stream?x=1", (), "http://h/v1/a/stream?x=1&type=t&from=10m"),
        ("https://i/s", (), "https://i/s?type=t&from=10m"),
    ],
)
def test_what_is_tailed_becomes_a_url(target: str, keys: tuple[str, ...], url: str) -> None:
    assert address(target, "http://h/", keys, ("t",), "10m") == url
