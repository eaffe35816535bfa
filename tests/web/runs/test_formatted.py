"""Event streams in the counters and in the access log, also those in a format of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broadcaster import Publisher, RunQueue
from broadcaster.core.catalogue import Catalogue
from broadcaster.core.wire import Ending, SinkKind
from broadcaster.web.runs.bare import BareEvents
from broadcaster.web.runs.formatted import CutError, FormattedResponse
from tests.channels import named
from tests.nodes import Raw, Running, running
from tests.wait import http_client, until

CHANNELS = Catalogue(
    named("answers", requests="answers.requests", terminal=frozenset({"complete"}))
)
PATH = "/v1/answers/stream"
BARE = f"{PATH}?key=ann&profile=bare"


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, channels=CHANNELS) as made:
        yield made


@pytest.fixture
async def http(hub: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(base_url=hub.url) as made:
        yield made


async def test_a_bare_stream_is_counted_and_logged_with_the_reason_of_its_end(
    hub: Running, http: httpx.AsyncClient, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "broadcaster.web.connection")
    meters = hub.node.meters
    async with Publisher(redis_url, channels=CHANNELS) as publisher:
        await http.post(PATH, json={"key": "ann"})
        (run,) = await until(lambda: RunQueue(publisher, "answers").take(1))
        await run.publish(data="a")
        leaving, cut, staying = [await Raw.get(hub.port, BARE) for _ in range(3)]
        for stream in (leaving, cut, staying):
            await stream.until(b"a")
        assert meters.opened[SinkKind.FORMAT] == 3
        leaving.close()
        await until(lambda: meters.closed[Ending.CLIENT])
        await run.restart()
        await cut.rest()
        await until(lambda: meters.closed[Ending.CUT] == 2)
        last = await Raw.get(hub.port, BARE)
        await run.complete()
        await last.rest()
        await until(lambda: meters.closed[Ending.COMPLETE])
    found: list[Any] = [record.fields for record in caplog.records if hasattr(record, "fields")]
    assert len(found) == 8
    assert found[0].pop("client").startswith("127.0.0.1:")
    assert found[0] == {"path": PATH, "channels": "answers", "resumed": False}
    assert [fields["reason"] for fields in found if "reason" in fields] == [
        Ending.CLIENT,
        Ending.CUT,
        Ending.CUT,
        Ending.COMPLETE,
    ]


async def test_a_client_that_takes_nothing_is_cut(redis_url: str) -> None:
    async def events() -> AsyncIterator[tuple[str, str]]:
        yield "", ""

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "path": PATH, "client": None}
    async with running(redis_url, channels=CHANNELS, send_timeout_s=0.01) as hub:
        made = FormattedResponse(BareEvents(), "7-1", events(), node=hub.node, stream="answers")
        with pytest.raises(CutError, match="takes nothing"):
            await made(scope, never, never)
        assert hub.node.meters.closed[Ending.SEND_TIMEOUT] == 1


async def test_one_that_has_not_begun_is_no_stream(hub: Running) -> None:
    async def events() -> AsyncIterator[tuple[str, str]]:
        for text in ("not now",):
            raise CutError(text)
        yield "", ""

    sent = list[int]()

    async def send(message: Any) -> None:
        sent.append(message.get("status", 0))

    async def never() -> Any:
        await asyncio.Event().wait()

    response = FormattedResponse(BareEvents(), "7-1", events(), node=hub.node, stream="answers")
    await response({"type": "http", "path": PATH}, never, send)
    assert sent[0] == 503
    assert not hub.node.meters.opened[SinkKind.FORMAT]
    assert not hub.node.meters.closed.total()
