"""The figures of a node, `/metrics`, and its log lines."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broadcaster import BackendUnavailableError, EventId, Publisher
from broadcaster.core.catalogue import PET_STORE
from broadcaster.core.state.checkpoint import Mark, named
from broadcaster.core.state.values import Rules
from broadcaster.node.metrics import in_time
from tests.nodes import Raw, Running, running, told
from tests.wait import http_client, until

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
STREAM = "/v1/inventory/stream"
Values: TypeAlias = dict[str, dict[tuple[str, ...], float]]


async def scraped(hub: Running, *needed: str) -> Values:
    """The values of all samples, by name and by the labels' values but the process's.

    What Redis does not say within a second is missing. So what is needed of the inventory is waited
    for.
    """
    async with http_client() as http:

        async def has_all() -> Values | None:
            answer = await http.get(f"{hub.url}/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            values = sampled(answer.text)
            there = all(("inventory",) in values.get(name, {}) for name in needed)
            return values if there else None

        values = await until(has_all)
        assert values is not None
        return values


def sampled(text: str) -> Values:
    values: Values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["process"] == "0"
            labels = tuple(v for k, v in sorted(sample.labels.items()) if k != "process")
            values.setdefault(sample.name, {})[labels] = sample.value
    return values


def grown(samples: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Those that are not 0."""
    return {labels: value for labels, value in samples.items() if value}


def documented() -> Iterator[tuple[str, str, set[str]]]:
    """Name, type and labels of each line of the table."""
    for line in DOCUMENT.read_text("utf-8").splitlines():
        if match := re.match(r"\| `(broadcaster_\w+)` \| (\w+) \| ([^|]*)\|", line):
            labels = re.sub(r"`: [^;]*?(?=, `\w+`: |$)", "`", match[3].strip())
            yield match[1], match[2], set(re.findall(r"`(\w+)`", labels))


RULES = named(PET_STORE["inventory"].state_rules or Rules("last"))


async def test_the_document_has_every_metric_with_its_labels(
    redis_url: str, client: Any, publisher: Publisher
) -> None:
    async with running(redis_url, max_connections=1) as hub:
        mark = Mark(b"m", EventId(1, 0), None, 0, RULES)
        await client.hset("{inventory}:state", "at", mark.packed())
        stream = await Raw.get(hub.port, STREAM, "Last-Event-ID: rubbish\r\n")
        await stream.until(b"stream.live")
        await publisher.publish("inventory", data=1)
        await stream.until(b"data: 1")
        await (await Raw.get(hub.port, STREAM)).rest()  # shed
        stream.close()
        await until(lambda: not hub.node.hub.subscribers)
        lacks, text = True, ""
        async with http_client() as http:
            while lacks:  # what Redis does not say within a second is missing
                text = (await http.get(f"{hub.url}/metrics")).text
                lacks = "broadcaster_checkpoint_lag_seconds{" not in text
    seen = {
        (family.name + "_total" * (family.type == "counter"), family.type): {
            label for sample in family.samples for label in sample.labels
        }
        - {"process", "le"}
        for family in text_string_to_metric_families(text)
        if family.name.startswith("broadcaster_")
    }
    assert seen == {(name, type_): labels for name, type_, labels in documented()}


async def test_counters_have_their_series_from_the_start(redis_url: str) -> None:
    """For Prometheus, a series that appears with a value has not grown, so no alert would fire."""
    async with running(redis_url) as hub:
        values = await scraped(hub)
    streams = ("inventory", "orders", "recommendations")
    assert values["broadcaster_resets_total"] == {
        (reason, stream): 0
        for reason in ("trimmed", "rollback", "unknown", "invalid", "gone")
        for stream in streams
    }
    expected = {
        "resumes": ("window", "redis", "state", "reset"),
        "connections_opened": ("transport", "asgi", "format"),
        "connections_closed": (
            "client",
            "complete",
            "drain",
            "send_timeout",
            "gone",
            "expired",
            "revoked",
            "cut",
            "error",
        ),
        "pages": ("events", "empty", "state"),
        "requests_exceeding": ("keys", "channels", "query"),
        "published_events": ("orders", "inventory", "recommendations"),
        "connections_shed": (
            "draining",
            "full",
            "address",
            "subject",
            "rate",
            "loading",
            "redis",
            "refused",
            "requests",
            "access",
        ),
    }
    for name, labels in expected.items():
        assert values[f"broadcaster_{name}_total"] == {(label,): 0 for label in labels}


async def test_connections_are_counted_by_state_and_by_their_end(
    redis_url: str, publisher: Publisher
) -> None:
    await publisher.publish("orders", type="complete", key="7")
    async with running(redis_url) as hub:
        staying = await Raw.get(hub.port, STREAM)
        going = await Raw.get(hub.port, STREAM)
        await staying.until(b"stream.live")
        await going.until(b"stream.live")
        assert (await scraped(hub))["broadcaster_connections"] == {("live",): 2, ("lagging",): 0}
        going.close()
        await until(lambda: len(hub.node.hub.subscribers) == 1)
        await (await Raw.get(hub.port, "/v1/orders/7/status/stream")).rest()
        hub.node.end_responses()
        await staying.rest()
        values = await scraped(hub)
    assert grown(values["broadcaster_connections_opened_total"]) == {("transport",): 3}
    closed = {("client",): 1, ("complete",): 1, ("drain",): 1}
    assert grown(values["broadcaster_connections_closed_total"]) == closed
    assert values["broadcaster_draining"][()] == 1
    assert values["broadcaster_ready"][()] == 0


async def test_resumes_are_counted_by_their_source(redis_url: str, publisher: Publisher) -> None:
    ids = await publisher.publish_many([("inventory", "message", "", n) for n in range(20)])
    async with running(redis_url, window_events=10) as hub:
        for cursor in (ids[15], ids[2], "5-0"):
            client = await Raw.get(hub.port, STREAM, f"Last-Event-ID: {cursor}\r\n")
            await client.until(b"stream.live")
        newcomer = await Raw.get(hub.port, STREAM + "?from=earliest")
        await newcomer.until(b"stream.live")
        assert len(told(newcomer.body)) == 20
        values = await scraped(hub)
        reads = (await scraped(hub))["broadcaster_replay_reads_total"]
    outcomes = {("window",): 1, ("redis",): 1, ("state",): 0, ("reset",): 1}
    assert values["broadcaster_resumes_total"] == outcomes
    assert grown(values["broadcaster_resets_total"]) == {("trimmed", "inventory"): 1}
    assert values["broadcaster_replay_reads_total"][()] >= 2
    assert reads == values["broadcaster_replay_reads_total"]  # to look is not to replay


async def test_deliveries_and_their_latency_are_counted(
    redis_url: str, publisher: Publisher
) -> None:
    await publisher.publish("inventory", data="old: it is loaded, so nobody waited for it")
    async with running(redis_url) as hub:
        clients = [await Raw.get(hub.port, STREAM) for _ in range(3)]
        for client in clients:
            await client.until(b"stream.live")
        await publisher.publish("inventory", data="new")
        for client in clients:
            await client.until(b"data: new\n\n")
        values = await scraped(hub)
    assert values["broadcaster_deliveries_total"][()] == 3
    frame = clients[0].body[clients[0].body.rindex(b"id: ") :]
    assert values["broadcaster_delivered_bytes_total"][()] == 3 * len(frame)
    assert values["broadcaster_frames_encoded_total"]["inventory",] == 2
    assert values["broadcaster_write_latency_seconds_count"] == {("inventory",): 1}
    assert 0 <= values["broadcaster_write_latency_seconds_sum"]["inventory",] < 5


async def test_the_trim_edge_comes_near_while_a_node_does_not_read(
    redis_url: str, publisher: Publisher
) -> None:
    await publisher.publish_many([("inventory", "message", "", n) for n in range(10)])
    async with running(redis_url) as hub:
        edge, entries = "broadcaster_trim_edge_entries", "broadcaster_stream_entries"
        assert (await scraped(hub, edge))[edge]["inventory",] == 10
        hub.node._tasks[list(hub.node.settings.channels).index("inventory")].cancel()
        await publisher.publish_many([("inventory", "message", "", n) for n in range(4)])
        values = await scraped(hub, edge, entries)
        assert values[edge]["inventory",] == 10
        assert values[entries]["inventory",] == 14
        await publisher.redis.execute_command("XTRIM", "inventory", "MAXLEN", 6)
        assert (await scraped(hub, edge))[edge]["inventory",] == 2


async def test_the_state_and_its_checkpoint_show(redis_url: str, client: Any) -> None:
    async with running(redis_url) as hub:
        usable_is = "broadcaster_checkpoint_usable"
        figures = await scraped(hub, usable_is)
        assert figures[usable_is]["inventory",] == 0
        assert "broadcaster_checkpoint_lag_seconds" not in figures
        for ms, key in ((1000, "a"), (2000, "b"), (3000, "c")):
            await client.xadd("inventory", {"key": key, "data": "123"}, id=f"{ms}-0")
        await hub.has_read("inventory", EventId(3000, 0))
        for ms, lacks, usable in ((3000, False, 1), (1000, True, 1), (1, True, 0)):
            mark = Mark(b"m", EventId(ms, 0), None, 3, RULES)
            await client.hset("{inventory}:state", "at", mark.packed())
            figures = await scraped(hub, usable_is)
            assert figures[usable_is]["inventory",] == usable
            lag_s = figures["broadcaster_checkpoint_lag_seconds"]["inventory",]
            assert (lag_s > 1e9) is lacks
            assert (lag_s == 0) is not lacks
        shown = {
            name.removeprefix("broadcaster_state_"): by["inventory",]
            for name, by in figures.items()
            if name.startswith("broadcaster_state_")
        }
        assert shown == {
            "offered": 1, "keys": 3, "too_large": 0, "incomplete": 0, "bytes": shown["bytes"]
        }  # fmt: skip
        assert shown["bytes"] > 9
        hub.node.hub.states.folds["inventory"].offered = False
        assert (await scraped(hub))["broadcaster_state_offered"]["inventory",] == 0


async def test_an_answer_that_is_late_or_fails_is_missing_alone() -> None:
    async def refused() -> int:
        raise BackendUnavailableError("refused")

    waiting = most = 0

    async def known() -> int:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0)
        waiting -= 1
        return 7

    late: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asks = {"late": lambda: late, "refused": refused} | dict.fromkeys("abcd", known)
    assert await in_time(asks, 0.05) == dict.fromkeys("abcd", 7)
    assert late.cancelled()
    assert await in_time(dict.fromkeys("abcdefgh", known)) == dict.fromkeys("abcdefgh", 7)
    assert most == 2  # each that is asked at the same time takes a connection of its own


async def test_an_id_from_the_future_shows(redis_url: str, client: Any) -> None:
    async with running(redis_url) as hub:
        await client.xadd("inventory", {"data": "1"}, id="9999999999999-0")
        await until(lambda: len(hub.node.hub.windows["inventory"]))
        ahead = (await scraped(hub))["broadcaster_stream_ahead_seconds"]
    assert ahead["inventory",] > 1e9


async def test_without_redis_the_other_metrics_are_there(redis_url: str) -> None:
    async with running("redis://127.0.0.1:1", ready=False) as hub:
        values = await scraped(hub)
    assert "broadcaster_stream_entries" not in values
    assert values["broadcaster_tailer_up"]["orders",] == 0


async def test_a_line_is_logged_when_a_stream_opens_and_when_it_ends(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "broadcaster")
    async with running(redis_url) as hub:
        client = await Raw.get(hub.port, STREAM + "?petId=7&token=secret")
        await client.until(b"stream.live")
        client.close()
        await until(lambda: not hub.node.hub.subscribers)
    opened, closed = [r for r in caplog.records if r.message.startswith("stream ")]
    assert opened.fields["path"] == STREAM  # type: ignore[attr-defined]  # from `extra`
    assert closed.fields["reason"] == "client"  # type: ignore[attr-defined]
    assert "secret" not in str([vars(record) for record in caplog.records])


async def test_those_lines_can_be_turned_off(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "broadcaster")
    async with running(redis_url, access_log=False) as hub:
        await (await Raw.get(hub.port, STREAM)).until(b"stream.live")
    assert not [r for r in caplog.records if r.message.startswith("stream ")]
