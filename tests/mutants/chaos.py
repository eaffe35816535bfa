"""Mutants of the checker of `make chaos`, and of the product as its scenarios see it."""

from __future__ import annotations

from tests.mutants import Mutant

_CHECKER = "tests/chaos/checker.py"
_TESTS = "tests/chaos/test_checker.py::test_"
_SCENARIO = "tests/chaos/test_scenarios.py::test_a_scenario_in_short"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "checker: any event after the last one counts as right",
        _CHECKER,
        "if number >= 0 and follows[at] == number:",
        "if number >= 0 and follows[at] != _NONE:",
        (_TESTS + "a_fault_in_a_clean_log_is_found_and_nothing_else",),
    ),
    Mutant(
        "checker: a reset forgives events that were missing before it",
        _CHECKER,
        "        self._flush(stream)\n        now",
        "        position.missing.clear()\n        now",
        (_TESTS + "an_event_that_was_missing_at_a_reset_is_lost_even_if_it_comes_later",),
    ),
    Mutant(
        "checker: a reset may skip retained entries",
        _CHECKER,
        "if entry.retained or entry.last < truth.era[stream]:",
        "if entry.last < truth.era[stream]:",
        (_TESTS + "a_reset_must_not_go_past_a_retained_entry",),
    ),
    Mutant(
        "checker: a reset may skip entries that were retained when it came",
        _CHECKER,
        "if entry.retained or entry.last < truth.era[stream]:",
        "if entry.retained:",
        (_TESTS + "a_reset_must_not_go_past_an_entry_that_was_retained_when_it_came",),
    ),
    Mutant(
        "checker: a cursor at a lost entry is accepted",
        _CHECKER,
        "        if entry is not None and entry.last < self._plan.truth.era[stream]:",
        "        if False:",
        (_TESTS + "a_cursor_at_a_lost_entry_must_be_reset_even_if_it_was_not_delivered",),
    ),
    Mutant(
        "checker: a chain need not reach the end",
        _CHECKER,
        "            if self._chain.complete and not self._over:",
        "            if False:",
        (_TESTS + "a_chain_that_is_complete_must_reach_the_end",),
    ),
    Mutant(
        "checker: entries of another history are due",
        _CHECKER,
        "return [e for e in found if e.first <= era <= e.last and e.certain]",
        "return [e for e in found if e.certain]",
        (_TESTS + "a_stream_made_anew_owes_nothing_of_the_old_one",),
    ),
    Mutant(
        "checker: a value of a state may be wrong",
        "tests/chaos/values.py",
        "if held != right:",
        "if held.keys() != right.keys():",
        ("tests/chaos/test_values.py::test_a_wrong_state_is_found_once[old]",),
    ),
    Mutant(
        "checker: a state whose connection is cut moves the position",
        _CHECKER,
        "            self._with_state.clear()\n            self._report",
        "            self._report",
        ("tests/chaos/test_values.py::test_a_reset_whose_state_is_cut_does_not_move_the_position",),
    ),
    Mutant(
        "scenario 8: the head's entry is not read again after a read",
        "broadcaster/backend/tailer.py",
        "if not proven:",
        "if head == ZERO:",
        (_SCENARIO + "[8]",),
    ),
    Mutant(
        "scenario 15: a start time is looked up among ids in the future",
        "broadcaster/core/resume/opening.py",
        "if newest.ms > self._now_ms + SEARCHABLE_AHEAD_S * 1000:",
        "if False:",
        (_SCENARIO + "[15]",),
    ),
    Mutant(
        "scenario 16: a lone CR does not split lines",
        "broadcaster/core/entry.py",
        r'"\n" in data or "\r" in data',
        r'"\n" in data',
        (_SCENARIO + "[16]",),
    ),
    Mutant(
        "judge of runs: half an answer is a success",
        "tests/chaos/attempts.py",
        "    if client.text == right:",
        "    if right.startswith(client.text):",
        ("tests/chaos/test_attempts.py::test_a_wrong_client_is_found_once[half-Fault.LOST]",),
    ),
    Mutant(
        "judge of runs: a text of two attempts is one of them",
        "tests/chaos/speech.py",
        "    return Said(attempt, tokens) if whole(run, attempt, tokens) == text else None",
        "    return Said(attempt, tokens)",
        ("tests/chaos/test_attempts.py::test_a_wrong_run_is_found[a_mixture-faults4]",),
    ),
    Mutant(
        "judge of runs: a run may end twice",
        "tests/chaos/attempts.py",
        "    if len(found.ends) > 1:",
        "    if False:",
        ("tests/chaos/test_attempts.py::test_a_wrong_run_is_found[two_ends-faults0]",),
    ),
)
