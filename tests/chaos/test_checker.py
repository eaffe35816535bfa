"""The checker flags every fault that is put into a clean log, and nothing else."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.checker import Fault, check
from tests.chaos.history import (
    Block,
    Chain,
    Cut,
    Kind,
    Ledger,
    Recording,
    Subscription,
    accepts,
    digest_of,
    text_of,
)
from tests.chaos.scribe import BOTH, KEYED, ONE, TYPED, Scribe, add, ledger_of

# A clean log, and one fault in it


@st.composite
def clean(draw: st.DrawFn) -> Scribe:
    """Chains without faults, with reconnects, checkpoints, and resets back and forth."""
    scribe = Scribe(ledger_of("a", "b", "c"))
    for subscription in draw(st.permutations([ONE, BOTH, KEYED, TYPED])):
        scribe.begin(subscription)
        for action in draw(st.lists(st.sampled_from(["events", "connect", "back", "live"]))):
            if action == "events":
                scribe.events(draw(st.integers(1, 20)))
            elif action == "connect":
                scribe.connect()
            elif action == "live":
                scribe.put(Block(Kind.LIVE, scribe.cursor(), "stream.live"))
            else:
                stream = draw(st.sampled_from(subscription.streams))
                scribe.reset(stream, (max(0, scribe.at[stream][0] - draw(st.integers(0, 90))), 0))
        scribe.events()
    return scribe


@given(clean())
def test_a_clean_log_has_no_findings(scribe: Scribe) -> None:
    report = scribe.report()
    assert report.clean, report.findings
    events = [block.kind is Kind.EVENT for block in scribe.recording.blocks]
    logs = [chain.log for chain in scribe.recording.chains]
    assert report.deliveries == sum(events[n] for log in logs for n in log if n >= 0)


def places_of_events(scribe: Scribe, chain: Chain) -> list[int]:
    """The places of events that are directly followed by another event of this chain."""

    def is_event(place: int) -> bool:
        number = chain.log[place]
        return number >= 0 and scribe.recording.blocks[number].kind is Kind.EVENT

    return [p for p in range(len(chain.log) - 1) if is_event(p) and is_event(p + 1)]


def put_in(scribe: Scribe, chain: Chain, place: int, fault: Fault) -> None:
    log, times = chain.log, chain.times
    block = scribe.recording.blocks[log[place]]
    odd = digest_of(b"of nobody")
    if fault is Fault.LOST:
        del log[place], times[place]
    elif fault is Fault.REORDERED:
        log[place], log[place + 1] = log[place + 1], log[place]
    elif fault is Fault.CORRUPT:
        log[place] = scribe.number(Block(Kind.EVENT, block.id, block.type, odd))
    else:
        bad = {
            Fault.DUPLICATE: block,
            Fault.PHANTOM: Block(Kind.EVENT, "999999-7", "t0", odd),
            Fault.LEAKED: foreign(scribe, chain.subscription),
        }[fault]
        log.insert(place + 1, scribe.number(bad))
        times.insert(place + 1, 0.0)


def foreign(scribe: Scribe, subscription: Subscription) -> Block:
    """An event that a subscription does not want."""
    for added in scribe.ledger.added:
        if added.id and not accepts(subscription, added.stream, added.key, added.type):
            return Block(Kind.EVENT, text_of(added.id), added.type, added.digest)
    raise AssertionError("it wants everything")


NOT_PUT_IN = (Fault.FATAL, Fault.WRONG)  # see `test_values` for the latter
FAULTS = [fault for fault in Fault if fault not in NOT_PUT_IN]


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=60)
@given(scribe=clean(), data=st.data())
def test_a_fault_in_a_clean_log_is_found_and_nothing_else(
    fault: Fault, scribe: Scribe, data: st.DataObject
) -> None:
    single = [chain for chain in scribe.recording.chains if len(chain.subscription.streams) == 1]
    chain = data.draw(st.sampled_from(single))
    place = data.draw(st.sampled_from(places_of_events(scribe, chain)))
    put_in(scribe, chain, place, fault)
    assert scribe.found() == {fault: 1}


@pytest.mark.parametrize("fault", FAULTS)
@settings(max_examples=60)
@given(scribe=clean(), data=st.data())
def test_faults_are_found_where_streams_are_merged(
    fault: Fault, scribe: Scribe, data: st.DataObject
) -> None:
    (chain,) = [chain for chain in scribe.recording.chains if chain.subscription == BOTH]
    place = data.draw(st.sampled_from(places_of_events(scribe, chain)))
    put_in(scribe, chain, place, fault)
    assert set(scribe.found()) == {fault}


# Claims of ids


def test_a_checkpoint_must_not_pass_over_an_event() -> None:
    scribe = Scribe(ledger_of("a")).begin(KEYED).events(4)  # 1000, 1010, 1040 and 1050
    scribe.checkpoint(a=(1070, 1)).events()
    assert scribe.found() == {}
    scribe.begin(KEYED).events(4).checkpoint(a=(1090, 0)).events()
    assert scribe.found() == {Fault.LOST: 2}


def test_a_position_must_not_go_back_without_a_reset() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE).events()
    assert scribe.checkpoint(a=(1000, 0)).found() == {Fault.REORDERED: 1}


def test_the_cursor_of_several_streams_must_not_pass_over_the_other_stream() -> None:
    scribe = Scribe(ledger_of("a", "b")).begin(BOTH).events(10)
    scribe.at["b"] = scribe.ledger.added[21].id or (0, 0)
    assert scribe.events().found() == {Fault.LOST: 6}


def test_a_chain_that_is_complete_must_reach_the_end() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE).events(37)
    assert scribe.found() == {Fault.LOST: 3}
    scribe.chain.complete = False
    assert scribe.found() == {}


def test_a_client_that_begins_at_the_oldest_entry_must_get_all_that_is_retained() -> None:
    ledger = ledger_of("a")
    del ledger.final["a"][1000, 0]  # trimmed, perhaps before this client came
    scribe = Scribe(ledger).begin(Subscription(("a",), earliest=True))
    scribe.chain.log, scribe.chain.times = array("i"), array("d")  # without a first position
    scribe.at["a"] = (1010, 1)
    assert scribe.events().found() == {Fault.LOST: 1}


def test_after_a_terminal_event_nothing_more_is_due() -> None:
    scribe = Scribe(ledger_of("a")).begin(Subscription(("a",), ("k1",), terminal=("t1",)))
    scribe.events(1).chain.note("status", "204", 0.0)
    assert scribe.found() == {}


def test_an_answer_that_ends_an_event_source_is_a_finding() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE).events()
    scribe.chain.note("fatal", "status 503", 0.0)
    scribe.chain.note("status", "204", 0.0)
    assert scribe.found() == {Fault.FATAL: 2}


# Passes


def passed(events: int, *, whole: bool = True) -> Scribe:
    """A client that is sent the newest of each key, after a client that was sent everything."""
    ledger = ledger_of("a")
    scribe = Scribe(ledger).begin(ONE).events().begin(ONE).events(1)
    if events:
        scribe.superseded("a", events)
    for added in ledger.added[-4:] if whole else ledger.added[-4:-1]:
        scribe.event(added)
    return scribe


def test_an_event_that_a_later_one_of_its_key_and_type_supersedes_is_not_lost() -> None:
    scribe = passed(35)
    assert scribe.found() == {}
    scribe.begin(ONE).superseded("a", 36)
    for added in scribe.ledger.added[-4:]:
        scribe.event(added)
    assert scribe.found() == {}


def test_superseded_events_are_announced_and_the_newest_ones_come() -> None:
    assert passed(0).found() == {Fault.LOST: 35}
    assert passed(30).found() == {Fault.LOST: 5}
    scribe = passed(40, whole=False)
    scribe.chain.complete = False
    assert scribe.found() == {Fault.LOST: 9}


def test_a_state_has_what_a_pass_had_still_to_bring() -> None:
    def cut_in_a_pass(told: int) -> Scribe:
        scribe = Scribe(ledger_of("a")).begin(ONE).events(1).superseded("a", told)
        return scribe.event(scribe.ledger.added[-4])

    assert cut_in_a_pass(35).connect().state("a").found() == {}
    assert cut_in_a_pass(30).connect().state("a").found() == {Fault.LOST: 5}


def test_what_one_client_was_told_does_not_count_for_another() -> None:
    of_key = Subscription(("a",), ("k0",))
    ledger = ledger_of("a", count=9)
    scribe = Scribe(ledger).begin(of_key).events(1).superseded("a", 1).event(ledger.added[8])
    assert scribe.found() == {}
    scribe.begin(of_key).events(1).event(ledger.added[8])
    assert scribe.found() == {Fault.LOST: 1}


def test_a_terminal_event_is_not_superseded() -> None:
    ledger = ledger_of("a", count=9)
    scribe = Scribe(ledger).begin(Subscription(("a",), ("k1",), terminal=("t1",)))
    scribe.superseded("a", 3).event(ledger.added[5])
    assert scribe.found() == {Fault.LOST: 1}


# Resets


def test_a_reset_covers_what_lies_before_where_it_goes_on() -> None:
    ledger = ledger_of("a")
    for id_ in sorted(ledger.final["a"])[:20]:
        del ledger.final["a"][id_]
    scribe = Scribe(ledger).begin(ONE).events(10)
    report = scribe.reset("a", (1199, 1 << 60)).events().report()
    assert (report.counts, report.resets, report.needless) == ({}, Counter(trimmed=1), 0)


def test_a_reset_covers_nothing_behind_where_it_goes_on_and_nothing_before_it_came() -> None:
    ledger = ledger_of("a")
    for id_ in [id_ for id_ in ledger.final["a"] if (1120, 0) < id_ < (1199, 0)]:
        del ledger.final["a"][id_]
    scribe = Scribe(ledger).begin(ONE).events(10)
    scribe.at["a"] = (1110, 2)  # two are missing when the reset comes
    scribe.events(1).reset("a", (1199, 0))
    scribe.at["a"] = (1210, 0)  # and two after it
    assert scribe.events().found() == {Fault.LOST: 4}


def test_an_event_that_was_missing_at_a_reset_is_lost_even_if_it_comes_later() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE).events(10)
    scribe.at["a"] = (1110, 2)
    assert scribe.events(1).reset("a", (1050, 0)).events().found() == {Fault.LOST: 2}


def test_a_reset_of_a_cursor_that_was_there_is_needless() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE).events(10).reset("a", (1000, 0)).events()
    assert (scribe.report().counts, scribe.report().needless) == ({}, 1)


def test_a_reset_must_not_go_past_a_retained_entry() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE).events(10).reset("a", (1119, 0)).events()
    assert scribe.found() == {Fault.LOST: 2}
    scribe.begin(ONE).events(10).reset("a", (9_999_999, 0))
    assert scribe.found() == {Fault.LOST: 32}


def test_a_reset_must_not_go_past_an_entry_that_was_retained_when_it_came() -> None:
    ledger = ledger_of("a", count=3)
    ledger.final["a"].clear()
    ledger.cuts.append(Cut("a", 5.0, []))
    for number in range(3):
        add(ledger, "a", (2000 + number, 0), 100 + number, sent_s=6.0)
    ledger.final["a"].clear()
    ledger.cuts.append(Cut("a", 9.0, []))
    scribe = Scribe(ledger).begin(ONE).event(ledger.added[2])
    scribe.reset("a", (2001, 0), at_s=7.0).event(ledger.added[-1]).reset("a", (0, 0), at_s=9.5)
    assert scribe.found() == {Fault.LOST: 2 + 2}  # the first two it never got, and these two


def test_a_reset_of_a_cursor_that_was_never_sent_is_needless() -> None:
    scribe = Scribe(ledger_of("a")).begin(ONE).events()
    assert scribe.reset("a", (9999, 0), "invalid").report().needless == 1


def test_a_reset_of_one_stream_forgives_nothing_in_another() -> None:
    scribe = Scribe(ledger_of("a", "b")).begin(BOTH).events(10)
    scribe.reset("a", (1001, 0))
    scribe.at["b"] = (1061, 0)
    assert scribe.events().found() == {Fault.LOST: 2}


# Other histories


def failed_over() -> Ledger:
    """Ten entries and three new ones. Before the new ones, a failover loses the last three."""
    ledger = ledger_of("a", count=10)
    kept = sorted(ledger.final["a"])[:7]
    for id_ in ledger.final["a"].keys() - set(kept):
        del ledger.final["a"][id_]
    ledger.cuts.append(Cut("a", 5.0, kept))
    for number in range(3):
        add(ledger, "a", (1061, number), 100 + number, sent_s=6.0)
    return ledger


def test_an_event_that_a_failover_lost_is_not_due() -> None:
    scribe = Scribe(failed_over()).begin(ONE).events(7)
    for added in scribe.ledger.added[-3:]:
        scribe.event(added)
    assert scribe.found() == {}


def test_an_event_that_a_failover_lost_is_a_phantom_without_a_reset() -> None:
    scribe = Scribe(failed_over()).begin(ONE, a=(1060, 0))
    for added in scribe.ledger.added[7:9]:
        scribe.event(added)
    assert scribe.found() == {Fault.PHANTOM: 2}  # its history ended, and no reset came
    scribe.reset("a", (1060, 0), "rollback")
    for added in scribe.ledger.added[-3:]:
        scribe.event(added)
    assert scribe.found() == {}


def test_a_new_entry_must_not_follow_one_that_is_gone() -> None:
    ledger = failed_over()
    add(ledger, "a", (2000, 0), 200, sent_s=6.0)
    scribe = Scribe(ledger).begin(ONE, a=(1060, 0)).event(ledger.added[7])
    scribe.event(ledger.added[-1]).chain.complete = False
    assert scribe.found() == {Fault.PHANTOM: 1}


def test_a_cursor_at_a_lost_entry_must_be_reset_even_if_it_was_not_delivered() -> None:
    ledger, lost = failed_over(), (1070, 1)  # which this subscription leaves out
    scribe = Scribe(ledger).begin(KEYED).events(4).checkpoint(a=lost)
    assert scribe.found() == {Fault.PHANTOM: 1}
    scribe.begin(KEYED).events(4).checkpoint(a=lost).reset("a", (1060, 0), "rollback")
    for added in ledger.added[-3:-1]:
        scribe.event(added)
    assert scribe.found() == {Fault.PHANTOM: 1}
    scribe.begin(KEYED).events(4).checkpoint(a=lost).reset("a", lost, "rollback")
    assert scribe.found() == {Fault.PHANTOM: 2}


def test_a_stream_made_anew_owes_nothing_of_the_old_one() -> None:
    ledger = ledger_of("a", count=10)
    ledger.final["a"].clear()
    ledger.cuts.append(Cut("a", 5.0, []))
    add(ledger, "a", (3000, 0), 100, sent_s=6.0)
    scribe = Scribe(ledger).begin(ONE).event(ledger.added[0])
    assert scribe.reset("a", (0, 0), "rollback").event(ledger.added[-1]).found() == {}


def test_without_a_reply_the_stream_or_a_client_decides() -> None:
    ledger = ledger_of("a", count=3)
    never, there, rolled_back = (add(ledger, "a", None, 10 + n) for n in range(3))
    ledger.final["a"][5000, 0] = there.digest
    scribe = Scribe(ledger).begin(ONE).events()
    assert scribe.found() == {Fault.LOST: 1}
    assert never.digest not in ledger.final["a"].values()
    rolled_back.id = (4000, 0)
    scribe.event(rolled_back)
    rolled_back.id = None
    there.id = (5000, 0)
    scribe.event(there)
    assert scribe.found() == {}


def test_a_stranger_in_the_stream_makes_the_run_worthless() -> None:
    ledger = ledger_of("a")
    ledger.final["a"][9999, 0] = "?"
    with pytest.raises(ValueError, match="nobody has logged"):
        check(Recording(), ledger)


# The files, and how fast it is


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    scribe = Scribe(ledger_of("a", "b")).begin(BOTH).events(5).reset("a", (1001, 0)).events()
    scribe.recording.save(tmp_path / "clients.ndjson")
    again = Recording.load(tmp_path / "clients.ndjson")
    assert again.blocks == scribe.recording.blocks
    assert list(again.lines(lambda _: True)) == list(scribe.recording.lines(lambda _: True))
    assert check(again, scribe.ledger).deliveries == scribe.report().deliveries > 0


def test_a_million_deliveries_are_checked_in_well_under_a_minute() -> None:
    scribe = Scribe(ledger_of("a", count=2000)).begin(ONE).connect().events()
    first = scribe.chain
    for number in range(1, 500):
        chain = Chain(f"client {number}", ONE)
        chain.log, chain.times, chain.notes = first.log[:], first.times[:], first.notes
        chain.complete = True
        scribe.recording.chains.append(chain)
    started_s = time.monotonic()
    report = scribe.report()
    assert (report.deliveries, report.counts) == (1_000_000, {})
    assert time.monotonic() - started_s < 20.0


def test_an_event_without_a_reply_is_waited_for_if_it_is_there() -> None:
    ledger = ledger_of("a", count=2)
    cut_off = add(ledger, "a", None, 99)
    assert ledger.last_of(ONE) == {"a": (1010, 1)}
    ledger.final["a"][2000, 0] = cut_off.digest
    assert ledger.last_of(ONE) == {"a": (2000, 0)}
