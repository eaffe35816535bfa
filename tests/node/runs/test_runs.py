"""A node ends the runs that no worker ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from broadcaster import ConfigurationError, EventId
from broadcaster.backend.clock import own_ms
from broadcaster.backend.runs.records import Records
from broadcaster.backend.runs.values import Asked
from broadcaster.core.catalogue import Catalogue
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.history.window import Window
from broadcaster.core.resume.steps import Greeting
from broadcaster.core.runs.record import RunKeys, RunState
from broadcaster.core.subscription import Subscription
from broadcaster.node.runs import runs
from broadcaster.node.runs.runs import Runs
from broadcaster.settings import Settings
from tests.channels import named
from tests.wait import until

CHANNELS = Catalogue(named("answers", requests="answers.requests"))
RUN = EventId(7, 1)
HUB = Hub({"answers": Window(10, 10_000)})


def made(client: Any) -> Runs:
    keeper = Runs(Settings(channels=CHANNELS), HUB, own_ms)
    keeper.use(client)
    return keeper


async def test_a_node_ends_a_run_whose_worker_is_gone(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_WATCH_S", 0.01)
    records = Records(client, "answers", None)
    await records.begin(str(RUN), Asked("ann", "ann#7-1"), 0.05)
    keeper = made(client)
    watching = asyncio.create_task(keeper.watch())

    async def ended() -> bool:
        record = await records.find(RUN)
        return record is not None and record.state is RunState.FAILED

    await until(ended)
    assert await client.xlen("answers") == 1
    watching.cancel()


async def test_a_node_without_the_rights_says_so_once(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runs, "_WATCH_S", 0.01)
    await client.set(RunKeys.of("answers", RUN).leases, "no set")
    keeper = made(client)
    with caplog.at_level(logging.WARNING):
        await keeper.watch()
    assert "does not look after runs" in caplog.text


async def test_a_run_needs_a_redis() -> None:
    with pytest.raises(ConfigurationError):
        await Runs(Settings(channels=CHANNELS), HUB, own_ms).begin(
            CHANNELS["answers"], "ann", "", b""
        )


@pytest.mark.parametrize(("follows", "sweeps"), [(False, 2), (True, 10)])
async def test_a_node_looks_seldom_while_no_client_here_follows_a_run(
    follows: bool, sweeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub({"answers": Window(10, 10_000)})
    if follows:
        subscription = Subscription.to((CHANNELS["answers"],), ("ann",))
        subscription = subscription.narrowed_to("ann#7-1", RUN)
        client = Subscriber(subscription, write=lambda _: None, wake=lambda: None, pushed=True)
        hub.add(client, {"answers": EventId(0, 0)}, Greeting(1))
    keeper, slept, swept = Runs(Settings(channels=CHANNELS), hub, own_ms), [0], [0]

    async def sleep(_: float) -> None:
        slept[0] += 1
        if slept[0] > 10:
            raise asyncio.CancelledError

    async def sweep() -> None:
        swept[0] += 1

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(keeper, "sweep", sweep)
    with pytest.raises(asyncio.CancelledError):
        await keeper.watch()
    assert swept[0] == sweeps
