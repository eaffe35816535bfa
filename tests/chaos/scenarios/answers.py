"""Answers: many runs at once, with nodes, workers and Redis that die in the middle of them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import msgpack
import orjson

from tests.chaos.analysis import quantile
from tests.chaos.attempts import Heard, Published, judge, published
from tests.chaos.follower import PATH
from tests.chaos.hearing import KINDS
from tests.chaos.processes import LoadProcess, Node, Pod, Worker
from tests.chaos.producer import client_of
from tests.chaos.stage import Stage
from tests.chaos.worker import ANSWERS, Manner
from tests.wait import until

_CHANNEL = f"""[channels.answers]
path = "{PATH}"
requests = "{ANSWERS.requests}"
terminal = ["complete"]
"""
_TOKENS, _SHUT = 200, 150
_WAIT_S = 90.0
_REJOIN_MS = 100.0
_COMMANDS = 20.0
_REGULAR_S = 5.0
"""In a span of this length nodes do all that they do by themselves."""
_PER_TEXT, _BESIDE_BYTES = 4, 4096
_READERS = ("broadcaster", "pod")
"""Names of connections to Redis: those of hubs, and the other ones of pods."""
_PAGE = 1_000


async def answers(stage: Stage) -> None:
    """Answer many requests at once, while everything that takes part in it dies in turn."""
    play = _Play(stage)
    await play.begin()
    await play.suffer()
    await play.rest()
    await play.end()
    await play.judge()
    await play.expire()


class _Play:
    """The parts of the scenario, and what they share."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._gate = stage.directory / "gate"
        self._clients = LoadProcess("tests.chaos.followers")
        self._runs: list[str] = []
        self._workers: list[Worker] = []
        self._nodes: list[Node] = []
        self._pods: list[Node] = []
        self._ttl_s = stage.size(40.0, 60.0)

    async def begin(self) -> None:
        """Start everything, and ask for all answers."""
        stage = self._stage
        await self._clients.start(stage.random.randrange(1 << 30))
        await stage.closing(self._clients.aclose)
        settings: dict[str, Any] = {
            "run_ttl_s": self._ttl_s,
            "retry_min_ms": 100,
            "retry_max_ms": 500,
        }
        self._nodes = await stage.start_nodes(2, also=_CHANNEL, **settings)
        url = stage.redis.url
        stage.use(f"{url}?socket_timeout=30")  # a busy disk holds Redis up for seconds
        for number in range(2):
            pod = Pod(
                stage.directory / f"pod{number}.log",
                {"redis_url": f"{url}?client_name=pod", **settings},
            )
            worker = Worker(stage.directory / f"worker{number}.log", {"redis_url": url})
            for one in (pod, worker):
                await stage.closing(one.aclose)
            self._pods.append(pod)
            self._workers.append(worker)
        await asyncio.gather(*(pod.start() for pod in self._pods))
        for worker in self._workers:
            await worker.start(self._manner())
        targets = [[one.target for one in some] for some in (self._nodes, self._pods)]
        await self._clients.ask("aim", nodes=targets[0], pods=targets[1])
        each = stage.count(125, 10)
        asked = await asyncio.gather(
            *(self._clients.ask("ask", kind=k, count=each, timeout_s=_WAIT_S) for k in KINDS)
        )
        self._runs = [run for found in asked for run in found["runs"]]
        left = sum(found["left"] for found in asked)
        total = len(self._runs)
        stage.show(f"{total} answers at once", f"{total - left} begin", not left)
        for kind in ("native", "bare", "openai"):
            some = stage.random.sample(self._runs, total // 6)
            await self._clients.ask("join", kind=kind, runs=some)

    def _manner(self) -> dict[str, Any]:
        stage = self._stage
        return asdict(
            Manner(
                tokens=_TOKENS,
                per_s=stage.size(10.0, 40.0),
                gate=str(self._gate),
                shut=_SHUT,
                restarts=0.5,
                takeover_s=stage.size(3.0, 1.5),
                batch_s=stage.size(0.5, 0.125),  # as five tokens of an answer of 50 in a second
                concurrency=stage.count(300, 24),
                seed=stage.random.randrange(1 << 30),
            )
        )

    # Trouble

    async def suffer(self) -> None:
        """Kill each of them, and restart Redis, while clients come and go."""
        stage = self._stage
        await self._clients.ask("churn", mean_life_s=stage.size(4.0, 1.5))
        pause_s = stage.size(2.0, 0.4)
        for number in range(stage.count(2, 1)):
            for victim in (self._workers[number], self._nodes[number], self._pods[number]):
                await asyncio.sleep(pause_s * stage.random.uniform(0.5, 1.5))
                await self._replaced(victim)
            await asyncio.sleep(pause_s)
            await self._restart_redis()
        await self._clients.ask("churn", mean_life_s=0.0)

    async def _replaced(self, victim: Node | Worker) -> None:
        await victim.kill()
        if isinstance(victim, Worker):
            await victim.start(self._manner())
        else:
            await victim.start()

    async def _restart_redis(self) -> None:
        await asyncio.to_thread(self._stage.redis.stop)
        await asyncio.sleep(self._stage.size(1.0, 0.3))
        await asyncio.to_thread(self._stage.redis.start)

    # In the middle, where no token is said

    async def rest(self) -> None:
        """Wait until all answers have come to the gate, and measure."""
        stage = self._stage
        found = await self._clients.ask("reach", tokens=_SHUT, timeout_s=_WAIT_S)
        clients = "all clients have three quarters of their answers"
        stage.show(clients, f"{found['left']} have not {found['some'] or ''}", not found["left"])
        during = sorted((await self._clients.ask("rejoins"))["ms"])
        stage.show("returns meanwhile", _quantiles(during), True)
        await self._memory()
        quiet = await self._commands_of(asyncio.sleep(_REGULAR_S))
        for kind in KINDS:
            seconds = _REGULAR_S if kind == "native" else stage.size(5.0, 1.0)
            await self._returns(kind, stage.count(1_000, 30), seconds, quiet / _REGULAR_S)

    async def _returns(self, kind: str, count: int, seconds: float, quiet_per_s: float) -> None:
        """Cut clients of a kind, and show what their returns take."""
        asked: list[float] = []

        async def cut() -> None:
            found = await self._clients.ask("cut", kind=kind, count=count, seconds=seconds)
            asked.extend(sorted(found["ms"]))

        began_s = time.monotonic()
        commands = await self._commands_of(cut())
        beside = quiet_per_s * (time.monotonic() - began_s)
        more = max(0.0, commands - beside)
        per_1000 = more * 1_000 / max(1, len(asked))
        # The others begin with the first event, which only the record of the run names. Two spans
        # without returns differ by up to 15 commands, which is less than one for each return.
        most = f": at most {_COMMANDS:.0f}" if kind == "native" else ""
        self._stage.show(
            f"{kind}: Redis commands for 1,000 returns{most}",
            f"{per_1000:.0f}: {commands} with {len(asked)} returns, {beside:.0f} without",
            kind != "native" or per_1000 <= _COMMANDS or more <= self._stage.count(5, 20),
            busy=True,
        )
        self._stage.show(
            f"{kind}: p99 of a return: at most {_REJOIN_MS:.0f} ms",
            _quantiles(asked),
            self._stage.quick or quantile(asked, 0.99) <= _REJOIN_MS,
            busy=True,
        )

    async def _commands_of(self, work: Any) -> int:
        """Return how many commands nodes and pods have sent meanwhile."""
        before = await self._calls()
        await work
        return await self._calls() - before

    async def _calls(self) -> int:
        """Return how many commands the nodes and the pods have sent, on connections still open."""
        found = await self._stage.client.client_list()
        return sum(int(one["tot-cmds"]) for one in found if one["name"] in _READERS)

    async def _memory(self) -> None:
        """Show what a run takes of Redis: its part of the log, and all keys that are its own."""
        stage = self._stage
        keys = await self._keys()
        beside = sum([await self._size(key) for key in keys])
        log = await self._size(ANSWERS.name)
        runs = published(await self._events())
        text = sum(len(text) for run in runs.values() for text in run.texts)
        count = max(1, len(runs))
        most = _PER_TEXT * text / count + _BESIDE_BYTES
        stage.show(
            f"Redis takes at most {_PER_TEXT} times its text and {_BESIDE_BYTES:,} bytes of a run",
            f"{(log + beside) / count:,.0f} bytes: {log / count:,.0f} of the log and "
            f"{beside / count:,.0f} beside it, of a text of {text / count:,.0f}",
            log + beside <= most * count,
        )

    async def _size(self, key: Any) -> int:
        return int(await self._stage.client.memory_usage(key, samples=0) or 0)

    async def _keys(self) -> list[bytes]:
        """Return the keys of runs."""
        return [key async for key in self._stage.client.scan_iter(f"{{{ANSWERS.name}}}:run*")]

    # The end

    async def end(self) -> None:
        """Let the answers go on to their end, in trouble again."""
        stage = self._stage
        await self._clients.ask("churn", mean_life_s=stage.size(2.0, 0.5))
        self._gate.touch()
        await asyncio.sleep(stage.size(1.0, 0.3))
        victims: list[Node | Worker] = [self._workers[1]]
        for victim in victims if stage.quick else [*victims, self._nodes[1], self._pods[1]]:
            await self._replaced(victim)
        found = await self._clients.ask("over", timeout_s=_WAIT_S)
        stage.show("all clients know an end", f"{found['left']} do not", not found["left"])

    async def judge(self) -> None:
        """Compare what clients have with what was published."""
        stage = self._stage
        path = stage.directory / "heard.json"
        said = await self._clients.ask("finish", path=str(path))
        heard = [
            Heard(**{**one, "wrong": tuple(one["wrong"])})
            for one in orjson.loads(path.read_bytes())
        ]
        events = await self._events()
        runs = published(events)
        await self._read_states(runs)
        for finding in judge(runs, heard, _TOKENS):
            stage.report.add(finding)
        stage.report.connections = said["connections"]
        stage.report.deliveries = len(heard) * len(events) // max(1, len(runs))
        # A run whose POST was cut off from its answer has no client, and perhaps no worker.
        followed = [runs[run] for run in {one.run for one in heard} if run in runs]
        ends = {end: sum(end in run.ends for run in followed) for end in ("complete", "failed")}
        anew = sum(len(run.texts) > 1 for run in runs.values())
        complete = ends["complete"] == len(followed)
        stage.show("answers with a client are complete", f"{ends} of {len(followed)}", complete)
        stage.show("some begin anew", f"{anew}", anew > 0)

    async def _read_states(self, runs: dict[str, Published]) -> None:
        for run, found in runs.items():
            record = f"{{{ANSWERS.name}}}:run:{run}"
            found.state = (await self._stage.client.hget(record, "state") or b"").decode()

    async def expire(self) -> None:
        """Wait for `run_ttl_s`: no key of a run may be left. A short run looks at what is to come.
        """  # fmt: skip
        keys = await self._keys()

        async def none_left() -> bool:
            keys[:] = await self._keys()
            return not keys

        if self._stage.quick:
            ttl_ms = [await self._stage.client.pttl(key) for key in keys]
            pairs = zip(keys, ttl_ms, strict=True)
            keys = [key for key, left_ms in pairs if not 0 <= left_ms <= self._ttl_s * 1_000]
        else:
            with suppress(TimeoutError):
                await until(none_left, self._ttl_s + 2.0)
        names = ", ".join(key.decode() for key in keys[:3])
        what = "no key of a run is left when run_ttl_s is over"
        self._stage.show(what, f"{len(keys)}: {names}" if keys else "none", not keys)

    async def _events(self) -> list[tuple[str, str, str]]:
        """Return the type, the key and the data of all events."""
        found, start = list[tuple[str, str, str]](), "-"
        client = client_of(self._stage.redis.url + "?socket_timeout=30")
        try:
            while rows := await client.xrange(ANSWERS.name, start, "+", count=_PAGE):
                for id_, fields in rows:
                    packed = fields.get(b"m")
                    if packed is None:
                        words = [fields[name].decode() for name in (b"type", b"key", b"data")]
                    else:
                        words = msgpack.unpackb(packed)
                    found.append((words[0], words[1], words[2]))
                    start = f"({id_.decode()}"
        finally:
            await client.aclose()
        return found


def _quantiles(values: list[float]) -> str:
    if not values:
        return "none"
    p50, p99 = (quantile(values, share) for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, of {len(values)}"
