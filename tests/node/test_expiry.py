"""Grants that end while a client reads, over real sockets, and no Redis."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.access.expiries import Expiries
from broadcaster.core.access.policy import Action, Caller, Denied, Grant
from broadcaster.core.fanout.subscriber import Subscriber
from broadcaster.core.wire import Ending
from broadcaster.node import expiry
from tests.core.fanout.test_hub import Client, make_hub
from tests.nodes import QUICK, Raw, events, running
from tests.wait import allowed_s, until

PATH, TOKEN = "/v1/orders/7/status/stream", "Authorization: Bearer {}\r\n"


@pytest.fixture
def let_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the time of day go on by so many seconds. Nodes look at it often."""
    passed_s, of_day = [0.0], time.time
    monkeypatch.setattr(expiry, "SWEEP_S", 0.01)
    monkeypatch.setattr(time, "time", lambda: of_day() + sum(passed_s))
    return passed_s.append


class Tokens:
    """A policy whose tokens end at times that a test sets."""

    def __init__(self, **ends: float) -> None:
        self.ends = ends

    def __call__(
        self, caller: Caller, _: Action, __: str, ___: frozenset[str], /
    ) -> Grant | Denied:
        token = caller.headers.get("authorization", "").removeprefix("Bearer ")
        end_s = self.ends.get(token, 0.0)
        if end_s < time.time():
            return Denied("the token has expired", 401)
        return Grant("ann", frozenset({"7"}), expires_s=end_s)


@pytest.mark.server
@pytest.mark.parametrize("sink", ["transport", "asgi"])
async def test_a_stream_ends_with_its_grant_and_goes_on_with_a_fresh_one(
    sink: str, let_pass: Callable[[float], None]
) -> None:
    log, now_s = MemoryLog(), time.time()
    policy = Tokens(old=now_s + 600, other=now_s + 6000)
    async with running("", log=log, authorize=policy, sink=sink) as hub:
        stays = await Raw.get(hub.port, PATH, TOKEN.format("other"))
        stream = await Raw.get(hub.port, PATH, TOKEN.format("old"))
        first = log.add("orders", type="status", key="7", data="first")
        log.add("orders", type="status", key="8", data="of another")
        await stream.until(b"data: first\n")
        let_pass(601)
        began_s = time.monotonic()
        body = await stream.rest()
        assert time.monotonic() - began_s < allowed_s(1.0)
        last = body.rpartition(b"\n\nretry: ")[2]
        retry_ms = int(last.partition(b"\n")[0])
        assert QUICK["retry_min_ms"] <= retry_ms <= QUICK["retry_max_ms"]
        at = events(body)[-1].id
        assert last.endswith(f"id: {at}\nevent: stream.expired\ndata: {{}}\n\n".encode())
        assert at > str(first)  # its position has moved past what it may not see
        assert hub.node.meters.closed[Ending.EXPIRED] == 1
        again = await Raw.get(hub.port, PATH, TOKEN.format("old") + f"Last-Event-ID: {at}\r\n")
        assert again.head.startswith(b"HTTP/1.1 401")
        log.add("orders", type="status", key="7", data="second")
        policy.ends["fresh"] = now_s + 6000
        back = await Raw.get(hub.port, PATH, TOKEN.format("fresh") + f"Last-Event-ID: {at}\r\n")
        assert await back.told(1) == ["second"]
        assert b"stream.reset" not in back.body
        assert await stays.told(2) == ["first", "second"]
        assert len(hub.node.hub.subscribers.expiries) == 2
        back.close()
        await until(lambda: len(hub.node.hub.subscribers.expiries) == 1)


@pytest.mark.server
async def test_a_client_that_catches_up_is_ended_too(let_pass: Callable[[float], None]) -> None:
    policy = Tokens(old=time.time() + 600)
    log = MemoryLog()
    async with running("", log=log, authorize=policy, high_water_bytes=1024) as hub:
        for _ in range(50):
            log.add("orders", type="status", key="7", data="x" * 100_000)
        stream = await Raw.get(hub.port, f"{PATH}?from=earliest", TOKEN.format("old"))
        let_pass(601)
        await until(lambda: len(hub.node.hub.subscribers.expiries) == 0)
        assert (await stream.rest()).endswith(b"event: stream.expired\ndata: {}\n\n")


async def test_many_that_expire_at_once_are_ended_a_few_at_a_time() -> None:
    hub = make_hub()
    expiries, turns = Expiries[Subscriber](), list[int]()
    for _ in range(250):
        expiries.add(Client(hub).subscriber, 100.0)
    await expiry.sweep(expiries, lambda several, _: turns.append(len(several)), 99.0)
    assert turns == []
    await expiry.sweep(expiries, lambda several, _: turns.append(len(several)), 100.0)
    assert turns == [100, 100, 50]
