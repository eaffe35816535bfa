"""What answers cost: `python -m bench.answers [--runs N]`.

The first table is the memory that the log of an answer takes, and how smoothly its text comes, by
the seconds for which a worker gathers tokens. Then a worker answers many requests at a time, and
clients follow them at a node: the way of a first token, from `Run.write` to the client, and the CPU
time of each process. Worker, node, Redis and clients are processes of their own.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import click
import httpx
import msgpack
import uvloop

from broadcaster import Channel, EmbeddedRedis, Publisher, Run, RunQueue
from broadcaster.backend.driver.connect import connect_sync
from broadcaster.core.catalogue import Catalogue

_CHANNELS = Catalogue(
    [Channel(name="answers", path="/answers", requests="answers.requests", maxlen=1_000_000)]
)
_JSON = '{"answers":{"path":"/answers","requests":"answers.requests","maxlen":1000000}}'
_TOKEN = "token "
_TOKENS_PER_S = 50
_BATCHES_S = (0.0, 0.025, 0.05, 0.1, 0.2, 0.4)
_LOOK_S = 5.0
_SPOKEN_AT = re.compile(rb"at=(\d+);")


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def _speak(run: Run | None, tokens: int) -> None:
    """Say tokens, as a model does: to a run, or to nothing."""
    for _ in range(tokens):
        if run:
            await run.write(_TOKEN)
        await asyncio.sleep(1 / _TOKENS_PER_S)


async def _curve(url: str, tokens: int, runs: int) -> None:
    """Print the table."""
    print("| seconds | memory of the log | entries per second | p95 of the pauses |")
    print("|---|---|---|---|")
    for batch_s in _BATCHES_S:
        async with Publisher(url, channels=_CHANNELS) as publisher:
            redis: Any = publisher.redis
            await redis.flushall()
            queue = RunQueue(publisher, "answers", batch_s=batch_s)
            for number in range(runs):
                await redis.xadd("answers.requests", {"key": f"{number}"})
            some = await queue.take(runs)
            began_s = time.monotonic()
            await asyncio.gather(*(_speak(run, tokens) for run in some))
            for run in some:
                await run.complete()
            took_s = time.monotonic() - began_s
            entries = await redis.xrange("answers")
            size = await redis.memory_usage("answers", samples=0)
            at_ms = dict[bytes, list[int]]()
            for id_, fields in entries:
                if packed := fields.get(b"m"):
                    _, key, _ = msgpack.unpackb(packed, raw=True)
                    at_ms.setdefault(key, []).append(int(id_.split(b"-")[0]))
            pauses = [b - a for of in at_ms.values() for a, b in pairwise(of)]
            share = size / (runs * tokens * len(_TOKEN))
            per_s = len(entries) / runs / took_s
            p95_ms = _quantile(pauses, 0.95) if pauses else 0
            print(f"| {batch_s} | {share:.1f} times its text | {per_s:.1f} | {p95_ms} ms |")
            await queue.aclose()


async def _work(url: str, runs: int, tokens: int) -> None:
    """Answer requests, and print the CPU time per second and run."""
    over, all_over = 0, asyncio.Event()

    async def answer(run: Run) -> None:
        nonlocal over
        await asyncio.sleep(0.5)  # its client has come by then
        await run.write(f"at={time.time_ns()};")
        await _speak(run, tokens)
        await run.complete()
        over += 1
        if over == runs:
            all_over.set()

    async with Publisher(url, channels=_CHANNELS) as publisher:
        serving = asyncio.create_task(
            RunQueue(publisher, "answers").serve(answer, concurrency=runs)
        )
        cpu_s = time.process_time()
        await all_over.wait()
        used_s = time.process_time() - cpu_s
        serving.cancel()
        await asyncio.wait([serving])
    cpu_s = time.process_time()
    await asyncio.gather(*(_speak(None, tokens) for _ in range(runs)))
    model_s = time.process_time() - cpu_s
    all_ms, alone_ms = (1_000 * s * _TOKENS_PER_S / runs / tokens for s in (used_s, model_s))
    print(
        f"the worker takes {all_ms:.2f} ms of CPU per second and run, "
        f"{alone_ms:.2f} ms of which are the pauses of the model",
        flush=True,
    )


async def _follow(http: httpx.AsyncClient, port: int, number: int) -> float:
    """Return the milliseconds from the first token's `Run.write` to this client."""
    url = (await http.post("/answers", json={"key": f"{number}"})).json()["url"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    seen, took_ms = b"", 0.0
    while b"event: complete" not in seen[-4096:]:
        data = await reader.read(65536)
        if not data:
            raise ConnectionError(f"run {number} has ended before its end")
        seen += data
        if not took_ms and (found := _SPOKEN_AT.search(seen)):
            took_ms = (time.time_ns() - int(found[1])) / 1e6
    writer.close()
    return took_ms


async def _clients(port: int, runs: int, per_s: float, pids: dict[str, int]) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http:
        async with asyncio.timeout(30.0):
            while not await _is_ready(http):  # noqa: ASYNC110 -- another process gets ready
                await asyncio.sleep(0.1)
        following = []
        for number in range(runs):
            following.append(asyncio.create_task(_follow(http, port, number)))
            await asyncio.sleep(1 / per_s)
        shares = await _cpu({**pids, "the clients": os.getpid()})
        took_ms = await asyncio.gather(*following)
    # While the first half begins, fewer answers than `runs` are running.
    late = took_ms[runs // 2 :]
    p50, p99 = (_quantile(late, share) for share in (0.5, 0.99))
    print(f"a first token takes {p50:.1f} ms, p99 {p99:.1f} ms, worker to client", flush=True)
    print(f"of one core, {', '.join(shares)}", flush=True)


async def _cpu(pids: dict[str, int]) -> list[str]:
    """Return which part of a core each process takes while all answers are running."""
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    await asyncio.sleep(_LOOK_S)
    took = {name: (_cpu_s(pid) - before[name]) / _LOOK_S for name, pid in pids.items()}
    return [f"{name} take{'s' * (name[-1] != 's')} {share:.0%}" for name, share in took.items()]


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far, as clock_getcpuclockid(3) finds it."""
    return time.clock_gettime((~pid << 3) | 2)


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


def _pid(url: str) -> int:
    """Return the process of a Redis."""
    with connect_sync(url) as client:
        pid: int = client.info("server")["process_id"]
        return pid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@click.command()
@click.option("--runs", default=500, show_default=True, help="that are answered at a time.")
@click.option("--tokens", default=1_000, show_default=True, help="of each of them.")
@click.option("--curve/--no-curve", default=True, help="print the table.")
@click.option("--worker", default="", hidden=True)
def main(runs: int, tokens: int, curve: bool, worker: str) -> None:
    """Print the table, and the figures of many answers at a time."""
    if worker:
        uvloop.run(_work(worker, runs, tokens))
        return
    with EmbeddedRedis() as server, ExitStack() as stack:
        if curve:
            asyncio.run(_curve(server.url, tokens=200, runs=10))
        port = _free_port()
        env = {**os.environ, "BROADCASTER_CHANNELS": _JSON, "BROADCASTER_REDIS_URL": server.url}
        node = [sys.executable, "-m", "broadcaster", "serve", "--port", str(port)]
        mine = [sys.executable, "-m", "bench.answers", "--runs", str(runs), "--tokens", str(tokens)]
        quiet: dict[str, Any] = {"env": env, "stderr": subprocess.DEVNULL}
        serving = stack.enter_context(subprocess.Popen(node, stdout=subprocess.DEVNULL, **quiet))
        stack.callback(serving.terminate)
        working = stack.enter_context(subprocess.Popen([*mine, "--worker", server.url], **quiet))
        stack.callback(working.terminate)
        pids = {"the worker": working.pid, "the node": serving.pid, "Redis": _pid(server.url)}
        uvloop.run(_clients(port, runs, runs / 10, pids))
        working.wait(120)


if __name__ == "__main__":
    main()
