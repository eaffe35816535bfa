"""The table of the resume rule is complete. `docs/test_tables.py` compares the design note."""

from __future__ import annotations

import pytest

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.log import Answer, AtOrBefore, Beginning, Past
from broadcaster.core.resume import rules
from broadcaster.core.resume.rules import Said


def test_every_situation_has_a_rule_for_each_answer() -> None:
    assert rules.STARTS.keys() | rules.RULES.keys() == set(rules.Situation)
    for rule in (*rules.STARTS.values(), *rules.RULES.values()):
        assert (rules.Said.UNASKED in rule.then) == (rule.asks is None)
    used = {outcome for r in rules.RULES.values() for outcome in r.then.values()}
    used |= {outcome for r in rules.STARTS.values() for outcome in r.then.values()}
    assert used == set(rules.Outcome)


def test_a_rule_asks_about_the_position() -> None:
    at = EventId(5, 0)
    assert rules.question(rules.RULES[rules.Situation.BEFORE_WINDOW], at) == AtOrBefore(at)
    assert rules.question(rules.RULES[rules.Situation.BEFORE_ALL], at) == Beginning()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (True, Said.YES),
        (False, Said.NO),
        (None, Said.NONE),
        (ZERO, Said.POSITION),
        (Past([], EventId(5, 0), proven=True), Said.NOTHING_MORE),
        (Past([], EventId(6, 0), proven=True), Said.PROVEN),
        (Past([], EventId(6, 0), proven=False), Said.UNPROVEN),
        (Past([], EventId(5, 0), proven=False), Said.UNPROVEN),
    ],
)
def test_an_answer_says_one_thing(answer: Answer, said: Said) -> None:
    assert rules.said(answer, EventId(5, 0)) is said
