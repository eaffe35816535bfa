"""Streams that are trimmed, deleted, replaced, or have an odd id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import quote

import orjson

from tests.chaos.analysis import Span, following, of_groups, p99_ms, resets
from tests.chaos.history import Added, Cut, Subscription, text_of
from tests.chaos.stage import CHANNELS, Stage
from tests.wait import until

_ONE = Subscription(("a",))
_MAXLEN = 100
_FUTURE = (9_999_999_999_999, 0)


async def trimmed_away(stage: Stage) -> None:
    """Clients are away while `MAXLEN = 100` passes 10,000 events."""
    before = (await stage.start_nodes(1))[0]  # has all of it in memory
    await stage.open("kept up", 1, "/a", _ONE)
    producer = stage.producer(maxlen=_MAXLEN)
    ids = []
    for left in range(10_000, 0, -1):
        if left == _MAXLEN:  # or nothing would fit between it and the last that is trimmed
            await asyncio.sleep(0.002)
        ids.append(_id_of(await producer.publish("a", "k0")))
        if left % (_MAXLEN // 2) == 1:  # a busy node might be passed by what is trimmed
            await stage.reach("kept up")
    other = _id_of(await producer.publish("b", "k0"))
    after = (await stage.start_nodes(1))[0]  # knows only what is retained
    # After the last trimmed entry nothing is lost, but its absence leaves that unproven.
    unproven = ("first", "last trimmed")
    places = {"first": 0, "last trimmed": -_MAXLEN - 1, "first retained": -_MAXLEN, "last": -1}
    wanted: dict[str, int] = {}
    for node, name in ((before, "in memory"), (after, "not in memory")):
        await stage.aim(node.target)
        for place, index in places.items():
            group = f"{place}, {name}"
            wanted[group] = int(node is after and place in unproven)
            await stage.open(group, 20, "/a", _ONE, last_id=ids[index])
    both = f"a={ids[0]},b={other}"
    subscription = Subscription(("a", "b"))
    await stage.open("both", 20, "/v1/events?channel=a,b", subscription, last_id=both)
    wanted["both"] = 1
    last = stage.producer()  # without trimming: what a reset must not go past has to stay there
    await last.publish("b", "k0")
    await last.publish("a", "k0")
    await stage.settle()
    told = resets(stage.recording, 0.0, time.monotonic())
    for group, count in wanted.items():
        chains = filter(of_groups(group), stage.recording.chains)
        counts = {len(told[chain.name]) for chain in chains}
        stage.show(f"cursor {group}: {count} resets", f"{counts}", counts == {count})
    needless = stage.report.needless
    stage.show("no reset where the cursor's entry is there", f"{needless}", not needless)


def _id_of(added: Added) -> str:
    assert added.id is not None
    return text_of(added.id)


async def replaced(stage: Stage) -> None:
    """Delete, rename, expire, retype and flush one of several streams."""
    await stage.start_nodes(2)
    count = stage.count(500, 70)
    await stage.open("one", count, "/a", _ONE)
    await stage.open("both", count, "/v1/events?channel=a,b", Subscription(("a", "b")))
    await stage.open("other", count, "/c", Subscription(("c",)))
    producer, others = stage.producer(), stage.producer(streams=("b", "c"))
    stage.background(producer.run(15))
    stage.background(others.run(30))
    await asyncio.sleep(1.0)
    done = {}
    calm: list[Span] = []
    troubled: list[Span] = []
    for name, deed in _deeds(stage).items():
        began_s = time.monotonic()
        await asyncio.sleep(stage.size(8.0, 3.0))
        producer.paused = True
        calm.append((began_s, time.monotonic()))
        for group in ("one", "both"):  # what comes after each deed is due, too
            await stage.reach(group)
        done[name] = time.monotonic()
        await deed()
        stage.ledger.cuts.append(Cut("a", time.monotonic(), []))
        producer.paused = False
        await asyncio.sleep(4.0)
        troubled.append((done[name], time.monotonic()))
    producer.paused = others.paused = True
    await asyncio.sleep(0.3)
    done["FLUSHALL"] = time.monotonic()
    await stage.client.flushall()
    stage.ledger.cuts += [Cut(stream, time.monotonic(), []) for stream in CHANNELS]
    producer.paused = others.paused = False
    await asyncio.sleep(4.0)
    await stage.quiet()
    await stage.settle()
    for name, at_s in done.items():
        told = resets(stage.recording, at_s, at_s + 7.0, "a", following("a"))
        counts = {len(times) for times in told.values()}
        last_s = max(min(times, default=float("inf")) for times in told.values()) - at_s
        is_late = 2.0 < last_s < float("inf")
        stage.show(f"{name}: a reset in 2 s", f"{last_s:.2f} s", last_s <= 2.0, busy=is_late)
        stage.show(f"{name}: one each", f"{counts}", counts == {1})
    calmly = [resets(stage.recording, *span, "a", following("a")) for span in calm]
    count = sum(len(times) for told in calmly for times in told.values())
    stage.show("no reset between them", f"{count}", not count)
    _show_others_spared(stage, calm, troubled)
    stage.show_reasons("rollback", "unknown")


def _show_others_spared(stage: Stage, calm: list[Span], troubled: list[Span]) -> None:
    wanted = of_groups("other")
    of_both = resets(stage.recording, calm[0][0], troubled[-1][1], "b", of_groups("both"))
    of_other = resets(stage.recording, calm[0][0], troubled[-1][1], "c", wanted)
    count = sum(map(len, [*of_both.values(), *of_other.values()]))
    stage.show("other streams: no reset", f"{count}", not count)
    before_ms, during_ms = (
        p99_ms(stage.recording, stage.ledger, spans, wanted) for spans in (calm, troubled)
    )
    stage.show(
        "other streams: p99 moves less than 20 % (or 2 ms)",
        f"{before_ms:.1f} ms before each, {during_ms:.1f} ms during",
        during_ms < max(before_ms * 1.2, before_ms + 2.0),
        busy=True,
    )


def _deeds(stage: Stage) -> dict[str, Callable[[], Awaitable[None]]]:
    async def delete() -> None:
        await stage.client.delete("a")

    async def rename() -> None:
        await stage.client.rename("a", "elsewhere")

    async def expire() -> None:
        await stage.client.pexpire("a", 20)

        async def is_gone() -> bool:
            return not await stage.client.exists("a")

        await until(is_gone)

    async def retype() -> None:
        async with stage.client.pipeline(transaction=True) as pipe:
            await pipe.delete("a").set("a", "no stream").execute()
        await asyncio.sleep(3.0)
        await stage.client.delete("a")

    return {"DEL": delete, "RENAME": rename, "a TTL": expire, "WRONGTYPE": retype}


async def far_future(stage: Stage) -> None:
    """An entry with an id of the far future, then ones without: Redis counts on from there."""
    (node,) = await stage.start_nodes(1)
    await stage.open_mix(stage.count(400, 80))
    producer = stage.producer()
    for number in range(50):
        await producer.publish("ab"[number % 2], f"k{number // 2 % 4}")
    await producer.publish("a", "k0", id_=text_of(_FUTURE))
    for number in range(50):
        await producer.publish("ab"[number % 2], f"k{number // 2 % 4}")
    await asyncio.sleep(1.5)
    await stage.load.ask("drop")
    await stage.live(10.0)
    answers = {}
    for start in (datetime.now(UTC).isoformat(), "10m"):
        async with node.client.stream("GET", f"/a?from={quote(start)}") as answer:
            detail = orjson.loads(await answer.aread())["detail"] if answer.is_error else ""
            answers[start] = (answer.status_code, detail)
    ahead_s = await node.metric("broadcaster_stream_ahead_seconds")
    await stage.settle()
    stage.show_no_reset()
    stage.show(
        "from=<time> refuses clearly",
        " ".join(f"{status} {detail!r}" for status, detail in set(answers.values())),
        all(status == 400 and detail for status, detail in answers.values()),
    )
    stage.show("a metric says so", f"{ahead_s:.0f} s ahead", ahead_s > 1e9)
    lines = [line for line in node.log.read_text().splitlines() if str(_FUTURE[0]) in line]
    told = [orjson.loads(line)["message"] for line in lines]
    stage.show("a log line says so", f"{told[:1]}", bool(told))
