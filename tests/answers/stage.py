"""A pod of an application with the requests that stock clients send, and a model that is told how
far to go in each chat."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from tests.answers.test_facade import WORDS, Pod, pod
from tests.chaos.proxy import Proxy
from tests.wait import until

ALL = len(WORDS)
_PACE_S = 0.01


class Speech:
    """What the model says in one chat.

    Attributes:
        upto: after so many words it waits.
        over: it may end after its last word.
        fails: it fails instead.
        said: the number of words so far.
    """

    def __init__(self) -> None:
        self.upto, self.over, self.fails = ALL, True, False
        self.said = 0

    def waits(self, upto: int = 2) -> None:
        """Wait after so many words, until `go`."""
        self.upto, self.over = upto, False

    def go(self) -> None:
        """Say the rest."""
        self.upto, self.over = ALL, True

    def _may_say(self, number: int) -> bool:
        return self.upto > number

    async def say(self) -> AsyncIterator[str]:
        for number, word in enumerate(WORDS):
            await until(partial(self._may_say, number))
            self.said = number + 1
            yield word
            await asyncio.sleep(_PACE_S)  # so that each word is an event of its own
        await until(lambda: self.over)
        if self.fails:
            raise ZeroDivisionError


class Stage(NamedTuple):
    """A pod, and what its model says in each chat."""

    pod: Pod
    speeches: defaultdict[str, Speech]
    url: str

    def drain(self) -> None:
        """End all responses."""
        self.pod.answers.hub.state.node.end_responses()

    @property
    def followers(self) -> frozenset[Any]:
        """The clients that follow answers here, each for one response."""
        return frozenset(self.pod.answers.hub.state.node.hub.subscribers)

    async def followed(self, count: int, without: frozenset[Any] = frozenset()) -> None:
        """Wait until so many clients follow answers here, besides those that did before."""
        await until(lambda: len(self.followers - without) == count)


def serve_retrieval(made: Pod) -> None:
    """Add the requests about an answer that exists, as the clients of OpenAI's API send them."""

    @made.app.get("/v1/responses/{id}")
    async def retrieve(
        id: str, stream: bool = False, starting_after: int | None = None
    ) -> Response:
        return await made.answers.retrieve(id, stream=stream, starting_after=starting_after)

    @made.app.post("/v1/responses/{id}/cancel")
    async def cancel(id: str) -> Response:
        return await made.answers.cancel(id)


@asynccontextmanager
async def staged(redis_url: str, *, asks: bool = False, **options: Any) -> AsyncIterator[Stage]:
    """Run a pod. `asks`: it gives its answers to workers, instead of making them."""
    speeches = defaultdict[str, Speech](Speech)
    async with pod(redis_url, **{"batch_s": 0.001, **options}) as made:

        async def begun(chat: str, format: str, run: str = "") -> Response:
            if asks:
                return await made.answers.ask(chat, {"chat": chat}, format=format, run=run)
            return await made.answers.start(chat, speeches[chat].say(), format=format, run=run)

        @made.app.post("/api/chat")
        async def chat(request: Request) -> Response:
            return await begun((await request.json())["id"], "ai-sdk")

        @made.app.post("/v1/responses")
        async def create(request: Request) -> Response:
            return await begun((await request.json())["user"], "openai")

        @made.app.post("/agent")
        async def agent(request: Request) -> Response:
            asked = await request.json()
            return await begun(asked["threadId"], "ag-ui", asked["runId"])

        serve_retrieval(made)
        yield Stage(made, speeches, f"http://127.0.0.1:{made.port}")


class Cutter(Proxy):
    """Cuts the first response after so many blocks of its body; later ones pass.

    Attributes:
        responses: how many have begun.
        was_cut: the first one was.
    """

    def __init__(self, target: tuple[str, int], blocks: int) -> None:
        super().__init__(target)
        self._blocks = blocks
        self.responses = 0
        self.was_cut = False

    @property
    def url(self) -> str:
        """Its address, for clients."""
        return f"http://127.0.0.1:{self.port}"

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = b""
        while piece := await there.read(65536):
            self.responses += not seen
            sent, seen = len(seen), seen + piece
            if not self.was_cut and (end := self._end(seen)) >= 0:
                writer.write(seen[sent:end])
                await writer.drain()
                self.was_cut = True
                return
            writer.write(piece)
            await writer.drain()

    def _end(self, seen: bytes) -> int:
        """Return where to cut what was sent so far; -1 if that comes later."""
        end = seen.find(b"\r\n\r\n") + 4
        if end < 4:
            return -1
        for _ in range(self._blocks):
            end = seen.find(b"\n\n", end) + 2
            if end < 2:  # a slow machine may join words, so that there are fewer blocks
                return len(seen) if WORDS[-1].encode() in seen else -1
        return end

    def _ways(self, reader: Any, writer: Any, there: Any, back: Any) -> Any:
        asking, answering = super()._ways(reader, writer, there, back)
        answering.close()
        return asking, self._answer(there, writer)
