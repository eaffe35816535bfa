"""Figures from recordings: how late, how long away, how spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson

from tests.chaos.history import Block, Chain, Kind, Ledger, Recording

Wanted = Callable[[Chain], bool]
Span = tuple[float, float]


class Seen(NamedTuple):
    """A block that a client got, and when."""

    chain: Chain
    at_s: float
    block: Block


def everyone(_: Chain) -> bool:
    """All chains."""
    return True


def of_groups(*names: str) -> Wanted:
    """Chains of these groups."""
    return lambda chain: chain.name.rpartition(" ")[0] in names


def following(stream: str) -> Wanted:
    """Chains of clients that follow a stream."""
    return lambda chain: stream in chain.subscription.streams


def seen(
    recording: Recording, start_s: float, end_s: float, kind: Kind, wanted: Wanted = everyone
) -> Iterator[Seen]:
    """Blocks of one kind that came between two times."""
    blocks = recording.blocks
    for chain in filter(wanted, recording.chains):
        for number, at_s in zip(chain.log, chain.times, strict=True):
            if number >= 0 and start_s <= at_s <= end_s and blocks[number].kind is kind:
                yield Seen(chain, at_s, blocks[number])


def latencies_ms(
    recording: Recording, ledger: Ledger, spans_s: Sequence[Span], wanted: Wanted = everyone
) -> list[float]:
    """From Redis's answer to a client, of events that were published in some spans; sorted.

    An event that overtakes its answer counts as 0.
    """
    acked_s = {
        added.digest: added.acked_s
        for added in ledger.added
        if any(start_s <= added.acked_s <= end_s for start_s, end_s in spans_s)
    }
    first_s = min(start_s for start_s, _ in spans_s)
    found = [
        max(0.0, event.at_s - acked_s[event.block.digest]) * 1000
        for event in seen(recording, first_s, float("inf"), Kind.EVENT, wanted)
        if event.block.digest in acked_s
    ]
    return sorted(found)


def quantile(values: list[float], share: float) -> float:
    """A quantile of sorted values.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("nothing was measured")
    return values[min(len(values) - 1, int(len(values) * share))]


def p99_ms(
    recording: Recording, ledger: Ledger, spans_s: Sequence[Span], wanted: Wanted = everyone
) -> float:
    """The 99th percentile of `latencies_ms`."""
    return quantile(latencies_ms(recording, ledger, spans_s, wanted), 0.99)


def first_new_event_s(
    recording: Recording, ledger: Ledger, after_s: float, wanted: Wanted = everyone
) -> list[float]:
    """For each client how long after a time the first event came that was published after it."""
    published_s = {added.digest: added.sent_s for added in ledger.added}
    waits: dict[str, float] = {}
    for event in seen(recording, after_s, float("inf"), Kind.EVENT, wanted):
        if published_s.get(event.block.digest, 0.0) > after_s:
            waits.setdefault(event.chain.name, event.at_s - after_s)
    missing = [c for c in recording.chains if wanted(c) and c.name not in waits]
    return sorted([*waits.values(), *(float("inf") for _ in missing)])


def resets(
    recording: Recording, start_s: float, end_s: float, stream: str = "", wanted: Wanted = everyone
) -> dict[str, list[float]]:
    """For each client the times of its resets of a stream, or of any."""
    found: dict[str, list[float]] = {c.name: [] for c in recording.chains if wanted(c)}
    for reset in seen(recording, start_s, end_s, Kind.RESET, wanted):
        if stream in ("", orjson.loads(reset.block.data)["channel"]):
            found[reset.chain.name].append(reset.at_s)
    return found


def notes(
    recording: Recording, what: str, start_s: float, end_s: float, wanted: Wanted = everyone
) -> list[tuple[float, str]]:
    """Notes of one kind between two times: when, and with what."""
    return sorted(
        (at_s, chain.notes[-1 - number][1])
        for chain in filter(wanted, recording.chains)
        for number, at_s in zip(chain.log, chain.times, strict=True)
        if number < 0 and start_s <= at_s <= end_s and chain.notes[-1 - number][0] == what
    )


def without_events(recording: Recording) -> list[str]:
    """Clients that stayed to the end and never got an event."""
    is_event = [block.kind in (Kind.EVENT, Kind.VALUE) for block in recording.blocks]
    return [
        chain.name
        for chain in recording.chains
        if chain.complete and not any(n >= 0 and is_event[n] for n in chain.log)
    ]


class Outage(NamedTuple):
    """A time without a working connection. It is infinite if none worked again."""

    chain: Chain
    start_s: float
    seconds: float
    retry_s: float


def outages(recording: Recording, wanted: Wanted = everyone) -> Iterator[Outage]:
    """Yield each time from the loss of a connection until an event or `stream.live` comes.

    `retry_s` is the retry time that was in force.
    """
    for chain in filter(wanted, recording.chains):
        lost_s, retry_ms = 0.0, 3000
        for number, at_s in zip(chain.log, chain.times, strict=True):
            if number < 0:
                what, cause = chain.notes[-1 - number]
                if what == "disconnect" and cause != "left" and not lost_s:
                    lost_s, told_ms = at_s, retry_ms
                continue
            block = recording.blocks[number]
            if lost_s and block.kind in (Kind.LIVE, Kind.EVENT):
                yield Outage(chain, lost_s, at_s - lost_s, told_ms / 1000)
                lost_s = 0.0
            retry_ms = block.retry_ms or retry_ms
        if lost_s:
            yield Outage(chain, lost_s, float("inf"), told_ms / 1000)


def peak_to_mean(times_s: Iterable[float], spread_s: float) -> tuple[int, float]:
    """Of times: how many lie in the second with most of them, and the mean of all seconds if they
    were spread as they should be.

    Args:
        times_s: when something happened.
        spread_s: the time over which it should happen. The time that it really took is no measure:
            if all come within a second, their mean is also their peak.

    Raises:
        ValueError: there are none.
    """
    times = sorted(times_s)
    if not times:
        raise ValueError("nothing was measured")
    bins = Counter(int(at_s - times[0]) for at_s in times)
    return max(bins.values()), len(times) / spread_s
