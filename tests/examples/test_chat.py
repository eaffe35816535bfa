"""`examples/chat` in browsers: its page, built by Vite, before real processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.chaos.proxy import Proxy
from tests.clients import package
from tests.clients.browsers import Browser, Tab
from tests.command_line import Running, starting
from tests.wait import http_client, until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "examples" / "chat" / "page"
WHOLE = [str(number) for number in range(1, 51)]
TAKEOVER_S = 5

Pods = Callable[[], Awaitable["Pod"]]


class Pod:
    """A process of the application."""

    def __init__(self, running: Running, port: int) -> None:
        self.running, self.port = running, port

    async def kill(self) -> None:
        self.running.process.kill()
        await self.running.ended()


class Front(Proxy):
    """The one address of all pods."""

    def move(self, pod: Pod | None) -> None:
        """Cut all connections: new ones are another pod's, or are refused."""
        self.target = ("127.0.0.1", pod.port if pod else 1)
        self.cut()


class Chat:
    """The page in a tab."""

    def __init__(self, tab: Tab, url: str) -> None:
        self._tab, self._url = tab, url

    async def open(self) -> None:
        await self._tab.open(self._url)
        await self._tab.sees("!!document.querySelector('main')")

    async def ask(self, text: str) -> None:
        await self._tab.fill("input", text)
        await self._tab.click("#ask")

    async def stop(self) -> None:
        await self._tab.click("#stop")

    async def status(self) -> str:
        return str(await self._tab.value("document.querySelector('main').dataset.status"))

    async def error(self) -> str | None:
        found = await self._tab.value("document.querySelector('.error')?.textContent ?? null")
        return None if found is None else str(found)

    async def answer(self) -> list[str]:
        """The numbers of the answer: one after the other, from 1 on."""
        texts = "[...document.querySelectorAll('.assistant')].map((p) => p.textContent)"
        found = await self._tab.value(texts)
        assert len(found) <= 1, found
        numbers = found[0].split() if found else []
        assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
        return numbers

    async def grows(self, beyond: int = 0) -> int:
        """Wait until the answer has more than it has now, and more than this. Return how much.

        A page that was loaded anew is sent its answer from the beginning, in pieces.
        """
        before = max(beyond, len(await self.answer()))

        async def more() -> bool:
            return await self.status() == "streaming" and len(await self.answer()) > before

        await until(more)
        return len(await self.answer())

    async def has(self, numbers: list[str]) -> None:
        """Wait until the answer is this one."""

        async def so() -> bool:
            return await self.answer() == numbers

        await until(so)

    async def ends(self, status: str) -> list[str]:
        """Wait for a status. Return the answer."""

        async def ended() -> bool:
            return await self.status() == status

        await until(ended)
        return await self.answer()


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, as Vite builds it."""
    place = package.copied(tmp_path_factory.mktemp("chat"), PAGE, "chat")
    package.run(place, "node_modules/vite/bin/vite.js", "build")
    return place / "dist"


@pytest.fixture
async def pods(page: Path, redis_url: str) -> AsyncIterator[Pods]:
    async with starting(sys.executable, "-m", "uvicorn", "examples.chat.app:app") as start:
        env = {"REDIS_URL": redis_url, "PAGE": str(page), "TAKEOVER_S": str(TAKEOVER_S)}

        async def pod() -> Pod:
            running = await start("--port", "0", env=env, cwd=ROOT)
            line = await running.line("Uvicorn running on ")
            return Pod(running, int(line.partition("127.0.0.1:")[2].split()[0]))

        yield pod


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    async with Front(("127.0.0.1", 1)) as made:
        yield made


async def test_a_reload_a_second_tab_and_stop(pods: Pods, front: Front, browser: Browser) -> None:
    front.move(await pods())
    one, other = [
        Chat(await browser.tab(), f"http://127.0.0.1:{front.port}/?chat=7") for _ in range(2)
    ]
    await one.open()
    await one.ask("count forever")
    before = await one.grows()
    await one.open()
    await one.grows(before)
    await other.open()
    await other.grows(before)
    await other.stop()
    assert await one.ends("ready") == await other.ends("ready")
    assert await one.error() is None


async def test_an_answer_is_whole_or_an_error(pods: Pods, front: Front, browser: Browser) -> None:
    pod = await pods()
    front.move(pod)
    url = f"http://127.0.0.1:{front.port}/?chat="
    chat = Chat(await browser.tab(), url + "7")
    await chat.open()
    await chat.ask("count")
    await chat.grows()
    front.move(None)  # until the answer is over, no pod can be reached
    async with http_client() as http:

        async def over() -> bool:
            answer = await http.get(f"http://127.0.0.1:{pod.port}/api/chat/7/stream")
            return answer.status_code == 204

        await until(over)
    assert await chat.ends("error") != WHOLE
    front.move(pod)
    await chat.has(WHOLE)  # by itself
    assert await chat.status() == "ready"
    await chat.open()
    assert await chat.answer() == WHOLE

    failing = Chat(await browser.tab(), url + "8")
    await failing.open()
    await failing.ask("fail")
    assert await failing.ends("error") == WHOLE[:10]
    assert await failing.error() == "ConnectionError"


async def test_pods_are_killed(pods: Pods, front: Front, browser: Browser) -> None:
    """The page goes on by itself, until the pod is gone that makes the answer."""
    making, serving, third = await pods(), await pods(), await pods()
    front.move(making)
    chat = Chat(await browser.tab(), f"http://127.0.0.1:{front.port}/?chat=7")
    await chat.open()
    await chat.ask("count forever")
    await chat.grows()
    front.move(serving)
    before = await chat.grows()
    front.target = ("127.0.0.1", third.port)
    await serving.kill()
    await chat.grows(before)
    await making.kill()
    await chat.ends("error")
    assert await chat.error() == "worker"
