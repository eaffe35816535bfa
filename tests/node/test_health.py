"""The health of a node, as the public and as operators see it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from broadcaster.backend.log import Status
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame, skipped
from broadcaster.node import expiry
from broadcaster.node.health import Problem
from broadcaster.node.node import Node
from broadcaster.settings import Settings
from broadcaster.web.uvicorn.server import make_server
from tests.wait import allowed_s, until

SECRET = "redis://user:secret@10.0.0.7:6379/0"


class Troubled(MemoryLog):
    """A log in which streams can't be read, as a test wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: dict[str, str] = {}
        self.lag_s = 0.0

    def status(self, stream: str) -> Status:
        return Status(self.problems.get(stream, ""), self.lag_s)


@pytest.fixture
def log() -> Troubled:
    """The log of `node`."""
    return Troubled()


@pytest.fixture
def node(log: Troubled) -> Node:
    """A node that was not started; none of its windows is loaded."""
    return Node(Settings(redis_url=SECRET, node_name="a"), log=log)


def frame(ms: int) -> Frame:
    return skipped(EventId(ms, 0))


def loaded(node: Node) -> None:
    for window in node.pump.loaded.values():
        window.set()


def test_a_node_is_ready_when_all_windows_are_loaded(node: Node) -> None:
    assert {problem.public for problem in node.health.problems()} >= {
        f"{name}: the window is not loaded" for name in node.pump.loaded
    }
    loaded(node)
    assert node.health.problems() == []
    assert node.health.report(details=False)["status"] == "ready"


def test_a_node_is_ready_while_redis_is_away_for_a_moment(node: Node, log: Troubled) -> None:
    assert f"{next(iter(node.pump.loaded))}: the window is not loaded" in node.health.reasons()
    loaded(node)
    assert node.health.reasons() == []
    log.problems = dict.fromkeys(node.pump.loaded, "Error 111")
    log.lag_s = 29.0
    assert node.health.reasons() == []
    assert len(node.health.problems()) == len(node.pump.loaded)
    log.lag_s = 31.0
    assert node.health.reasons() == ["Redis has been away for more than 30 s"]
    del log.problems["orders"]  # so Redis is there, and one stream's trouble is not all clients'
    assert node.health.reasons() == []
    assert node.health.problems()
    node.fail_readiness()
    assert node.health.reasons() == ["draining"]


def test_an_unreadable_stream_is_named_and_operators_see_the_reason(
    node: Node, log: Troubled
) -> None:
    loaded(node)
    log.problems["orders"] = "Error 111 connecting to 10.0.0.7:6379"
    (problem,) = node.health.problems()
    assert problem == Problem(
        "orders: can't be read", "orders: Error 111 connecting to 10.0.0.7:6379"
    )
    report = node.health.report(details=False)
    assert report["reasons"] == ["orders: can't be read"]
    assert "10.0.0.7" not in str(report)
    assert not report["streams"]["orders"]["readable"]
    assert "10.0.0.7" in str(node.health.report(details=True)["reasons"])


def test_the_public_is_not_told_which_channels_are_not_listed(log: Troubled) -> None:
    channels: Any = {"news": {"path": "/news"}, "plans": {"path": "/plans", "listed": False}}
    node = Node(Settings(redis_url=SECRET, channels=channels), log=log)
    assert node.health.reasons()[:2] == [
        "news: the window is not loaded",
        "a channel that is not listed: the window is not loaded",
    ]
    loaded(node)
    log.problems["plans"] = "Error 111"
    (problem,) = node.health.problems()
    assert problem == Problem("a channel that is not listed: can't be read", "plans: Error 111")
    assert list(node.health.report(details=False)["streams"]) == ["news"]
    assert list(node.health.report(details=True)["streams"]) == ["news", "plans"]
    log.problems.clear()
    log.lag_s = 7.0
    assert [p.public for p in node.health.problems()] == [
        "news: 7.0 s behind",
        "a channel that is not listed: 7.0 s behind",
    ]


def test_a_node_that_drains_is_not_ready(node: Node) -> None:
    loaded(node)
    node.fail_readiness()
    assert node.health.problems() == [Problem("draining", "draining")]


def test_no_report_shows_a_password(node: Node) -> None:
    for details in (True, False):
        assert "secret" not in str(node.health.report(details=details))
    found = node.health.report(details=True)
    assert found["node"].startswith("a/")
    assert "redis://user:***@10.0.0.7" in found["redis"]


def test_latency_is_measured_from_the_ids(node: Node) -> None:
    now_ms = int(time.time() * 1000)
    node.health.measure("orders", [frame(now_ms - 5000), frame(now_ms - 3000)])
    assert 3000 <= node.health.write_lag_ms < 3000 + allowed_s(1.0) * 1000
    histogram = node.meters.write_latency_s["orders"]
    assert histogram.buckets()[-1] == ("+Inf", 2)
    node.health.measure("orders", [frame(now_ms + 60_000)])
    assert node.health.write_lag_ms == 0.0


def test_ids_in_the_future_are_logged_once_when_they_begin_and_when_they_end(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    window = node.hub.windows["orders"]
    window.append([frame(int(time.time() * 1000) + 3_600_000)])
    for _ in range(3):
        node.health.measure("orders", [])
    window.restart(EventId(int(time.time() * 1000), 0), complete=True)
    for _ in range(3):
        node.health.measure("orders", [])
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 2
    assert "in the future" in said[0]
    assert "in step" in said[1]


async def test_a_loop_that_is_held_up_is_noticed(node: Node) -> None:
    watching = asyncio.create_task(node.health.watch_loop())
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 -- a loop that stalls is what is measured
    await until(lambda: node.meters.loop_lag_s.sum > 0.1)
    watching.cancel()


async def test_all_repeated_works_of_a_node_are_due_at_whole_multiples_of_their_periods(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(node.metrics.own, node.drain, node.settings, node.meters)  # type: ignore[arg-type]
    works: list[Callable[[], Awaitable[None]]] = [
        node.health.watch_loop,
        node.operations.watch,
        node.requests.watch,
        node.runs.watch,
        partial(expiry.watch, node.hub.subscribers.expiries, node.end),
        server.opened.watch,
        server.main_loop,
    ]
    due_ms = list[float]()

    async def sleep(wait_s: float) -> None:
        due_ms.append((now_s + wait_s) * 1000)
        raise asyncio.CancelledError

    now_s = 1234.5678  # no multiple, and it stands still, however slow this machine is
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for work in works:
        with pytest.raises(asyncio.CancelledError):
            await work()
    assert len(due_ms) == len(works)
    assert all(abs(ms - round(ms / 50) * 50) < 1.0 for ms in due_ms), due_ms
