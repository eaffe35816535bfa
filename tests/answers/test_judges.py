"""What stock clients of others make of answers: half of one must never look like the whole.

The judges are npm `ai` 6 and 7, `@ag-ui/client`, and `openai` of npm and of Python. All of them see
the same.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from broadcaster import Publisher, Run, RunQueue
from tests.answers.stage import ALL, Cutter, Stage, staged
from tests.answers.test_facade import WORDS
from tests.clients import package
from tests.wait import PATIENCE_S, until

HERE = Path(__file__).with_name("judge")
WHOLE = "".join(WORDS)
NPM = ("ai6", "ai7", "ag-ui", "openai")
JUDGES = (*NPM, "openai.py")
# The events before the answer's last word, and that one.
BLOCKS = {"ai6": 2 + ALL, "ai7": 2 + ALL, "ag-ui": 2 + ALL, "openai": 3 + ALL, "openai.py": 3 + ALL}
SUCCESS = {"text": WHOLE, "outcome": "success"}
NOTHING = {"text": "", "outcome": "nothing"}
# Those that know an answer by its chat, and those that can follow one that they have not begun.
CHATS = ("ai6", "ai7")
FOLLOWERS = (*CHATS, "ag-ui")

Verdict = dict[str, Any]


class Court:
    """Asks the judges. Those of npm are in one process of Node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Verdict]] = {}

    async def read(self) -> None:
        """Read the verdicts."""
        assert self._process.stdout
        async for line in self._process.stdout:
            verdict = json.loads(line)
            self._asked.pop(verdict.pop("number")).set_result(verdict)

    async def hears(self, judge: str, url: str, chat: str, action: str = "send", **how: Any) -> Any:
        """Let a judge send a question, or follow its answer. Return what it makes of it."""
        async with asyncio.timeout(PATIENCE_S):
            if judge == "openai.py":
                return await python(url, chat, action, **how)
            number = next(self._numbers)
            self._asked[number] = asyncio.get_running_loop().create_future()
            command = {"number": number, "judge": judge, "base": url, "chat": chat}
            assert self._process.stdin
            line = json.dumps({**command, "action": action, **how})
            self._process.stdin.write(line.encode() + b"\n")
            return await self._asked[number]


async def python(url: str, chat: str, action: str, *, returns: bool = False, **_: Any) -> Verdict:
    """The client of OpenAI in Python, as `judge.mjs` uses that in npm."""
    # Not at the top: it takes a second, in each process that collects the tests.
    from openai import APIConnectionError, APIError, AsyncOpenAI, ConflictError

    async with AsyncOpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        if action != "send":
            async with client.responses.stream(response_id=chat) as stream:
                final = await stream.get_final_response()
            return {"text": final.output_text, "outcome": "success"}
        asking: Any = client.responses.create(model="stub", input="why?", user=chat, stream=True)
        text, id_, last, error = "", None, None, ""
        while True:
            try:
                async for event in await asking:
                    last = event.sequence_number
                    id_ = event.response.id if hasattr(event, "response") else id_
                    text += event.delta if event.type == "response.output_text.delta" else ""
                    if event.type == "response.completed":
                        return {"text": text, "outcome": "success", "id": id_}
                    if event.type == "response.failed":
                        message = event.response.error.message
                        return {"text": text, "outcome": "error", "error": message}
                    if event.type == "response.incomplete":
                        return {"text": text, "outcome": "stopped"}
                return {"text": text, "outcome": "a clean end"}
            except ConflictError:
                text, last = "", None  # it has begun anew
            except (APIConnectionError, APIError) as failure:
                error = str(failure)
            if not returns or id_ is None:
                return {"text": text, "outcome": "error", "error": error, "id": id_}
            options = {} if last is None else {"starting_after": last}
            asking = client.responses.retrieve(id_, stream=True, **options)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judges of npm, beside their packages."""
    return package.copied(tmp_path_factory.mktemp("judge"), HERE, "judge")


@pytest.fixture
async def court(place: Path) -> AsyncIterator[Court]:
    process = await asyncio.create_subprocess_exec(
        package.NODE, str(place / "judge.mjs"), stdin=PIPE, stdout=PIPE
    )
    made = Court(process)
    reading = asyncio.create_task(made.read())
    yield made
    process.kill()
    await process.wait()
    await reading


async def all_of(court: Court, stage: Stage, action: str = "send", **how: Any) -> list[Verdict]:
    """What each judge makes of a chat of its own."""
    hearing = (court.hears(judge, stage.url, judge, action, **how) for judge in JUDGES)
    return list(await asyncio.gather(*hearing))


async def said(stage: Stage, words: int = 2) -> None:
    """Wait until the model has said so much to each judge."""
    await until(lambda: all(stage.speeches[judge].said >= words for judge in JUDGES))


def agreed(verdicts: list[Verdict], **expected: Any) -> None:
    found = [{name: verdict.get(name) for name in expected} for verdict in verdicts]
    assert found == [expected] * len(JUDGES)


async def test_an_answer_live_and_when_it_is_over(redis_url: str, court: Court) -> None:
    async with staged(redis_url) as stage:
        verdicts = await all_of(court, stage)
        agreed(verdicts, **SUCCESS)
        for judge, verdict in zip(JUDGES, verdicts, strict=True):
            chat = verdict.get("id", judge)
            again = await court.hears(judge, stage.url, chat, "follow")
            expected = NOTHING if judge in CHATS else SUCCESS
            assert {name: again[name] for name in expected} == expected


@pytest.mark.parametrize("saying", ["", "network error"])
async def test_an_answer_that_is_cut_at_every_event(
    redis_url: str, court: Court, saying: str
) -> None:
    """Its client comes back, and has the answer once."""
    async with staged(redis_url) as stage, AsyncExitStack() as stack:

        async def cut(judge: str, blocks: int) -> None:
            chat = f"{judge}-{blocks}"
            stage.speeches[chat].waits(ALL)
            cutter = await stack.enter_async_context(Cutter(("127.0.0.1", stage.pod.port), blocks))
            hearing = asyncio.create_task(
                court.hears(judge, cutter.url, chat, returns=True, saying=saying)
            )
            has_no_id = "openai" in judge and blocks == 0
            await until(lambda: cutter.was_cut and (has_no_id or cutter.responses > 1))
            stage.speeches[chat].go()
            verdict = await hearing
            if has_no_id:
                assert verdict["outcome"] == "error"
            else:
                assert (verdict["outcome"], verdict["text"]) == ("success", WHOLE), chat

        judges = CHATS if saying else JUDGES
        await asyncio.gather(*(cut(j, n) for j in judges for n in range(BLOCKS[j] + 1)))


async def test_an_answer_that_another_pod_serves_while_one_drains(
    redis_url: str, court: Court
) -> None:
    async with staged(redis_url) as one, staged(redis_url) as other:
        for judge in JUDGES:
            one.speeches[judge].waits()
        sending = asyncio.create_task(all_of(court, one))
        await said(one)
        await one.followed(len(JUDGES))
        following = [
            asyncio.create_task(court.hears(judge, other.url, judge, "follow"))
            for judge in FOLLOWERS
        ]
        await other.followed(len(following))
        one.drain()
        agreed(await sending, outcome="error")
        for judge in JUDGES:
            one.speeches[judge].go()
        for verdict in await asyncio.gather(*following):
            assert (verdict["outcome"], verdict["text"]) == ("success", WHOLE)


async def test_an_answer_that_is_stopped(redis_url: str, court: Court) -> None:
    async with staged(redis_url) as one, staged(redis_url) as other:
        for judge in JUDGES:
            one.speeches[judge].waits()
        sending = asyncio.create_task(all_of(court, one))
        await said(one)
        await one.followed(len(JUDGES))
        for judge in JUDGES:
            assert await other.pod.answers.stop(judge)
        verdicts = await sending
    agreed(verdicts, outcome="stopped")
    assert all(verdict["text"] != WHOLE for verdict in verdicts)


async def test_an_answer_that_fails(redis_url: str, court: Court) -> None:
    async with staged(redis_url) as stage:
        for judge in JUDGES:
            stage.speeches[judge].fails = True
        agreed(await all_of(court, stage), outcome="error", error="ZeroDivisionError")


@asynccontextmanager
async def workers(stage: Stage, redis_url: str) -> AsyncIterator[RunQueue]:
    """A worker of the channel of the answers. No other one takes its runs while it lives."""
    async with Publisher(redis_url, channels=[stage.pod.answers.channel]) as publisher:
        yield RunQueue(publisher, "answers", takeover_s=PATIENCE_S)


async def taken(queue: RunQueue) -> list[Run]:
    """Take the run of each judge."""
    runs = list[Run]()
    while len(runs) < len(JUDGES):
        runs += await queue.take(len(JUDGES), wait_s=0.1)
    return runs


async def test_an_answer_that_begins_anew_with_another_worker(redis_url: str, court: Court) -> None:
    """The half of the worker that died is forgotten."""
    async with staged(redis_url, asks=True) as stage:
        sending = asyncio.create_task(all_of(court, stage, returns=True))
        async with workers(stage, redis_url) as leaving:
            for run in await taken(leaving):
                await run.publish(type="text", data="Forget ")
                await run.publish(type="text", data="this. ")
            await stage.followed(len(JUDGES))
            before = stage.followers
            await leaving.aclose()
        async with workers(stage, redis_url) as next_:
            runs = await taken(next_)
            for run in runs:
                assert run.text == "Forget this. "
                await run.restart()
                for word in WORDS:
                    await run.publish(type="text", data=word)
            await stage.followed(len(JUDGES), without=before)
            for run in runs:
                await run.complete()
        agreed(await sending, **SUCCESS)
