"""Mutants of histories: where they part, what was dropped, and what was only deleted."""

from __future__ import annotations

from tests.mutants import Mutant

_COMPARISON = "broadcaster/core/history/comparison.py"
_DROPPED = "broadcaster/core/history/dropped.py"
_TAILER = "broadcaster/backend/tailer.py"
_WINDOW = "broadcaster/core/history/window.py"
_COMPARED = "tests/core/history/test_comparison.py::"
_FORGOTTEN = "tests/core/history/test_dropped.py::"
_TAILED = "tests/backend/test_tailer.py::"
_HISTORY = "tests/e2e/test_history.py::"
_NODES = "tests/e2e/test_nodes.py::"
_WINDOWS = "tests/core/history/test_window.py::"

MUTANTS: tuple[Mutant, ...] = (
    # Where two histories part
    Mutant(
        "comparison: entries with equal ids count as equal",
        _COMPARISON,
        "        elif their == self._ours:",
        "        elif their.id == self._ours.id:",
        (_NODES + "test_an_id_that_was_given_twice_is_a_rollback",),
    ),
    Mutant(
        "comparison: one equal entry proves all earlier ones",
        _COMPARISON,
        "self._equal >= ENOUGH",
        "self._equal >= 1",
        ("tests/backend/test_tailer.py",),
    ),
    Mutant(
        "comparison: an entry that the window lacks does not break a proof",
        _COMPARISON,
        """            self._part()
            if their.id""",
        """            if their.id == self._ours.id:
                self._part()
            if their.id""",
        ("tests/backend/test_tailer.py",),
    ),
    Mutant(
        "comparison: an entry that Redis has deleted breaks a proof",
        _COMPARISON,
        "            if self._ours.id > self._deleted:",
        "            if True:",
        (_HISTORY + "test_deleted_entries_reset_no_client_when_the_node_reconnects",),
    ),
    Mutant(
        "comparison: any entry that Redis lacks counts as deleted",
        _COMPARISON,
        "            if self._ours.id > self._deleted:",
        "            if False:",
        (_TAILED + "test_deleted_entries_do_not_hide_a_lost_history",),
    ),
    Mutant(
        "comparison: a hole needs no equal entry on its newer side",
        _COMPARISON,
        "                self._part()\n            self._ours",
        "                self._part()\n"
        "            else:\n"
        "                self.common = self.common or self._ours.id\n"
        "            self._ours",
        (_COMPARED + "test_a_hole_is_passed_over_if_it_was_deleted_and_both_sides_are_equal",),
    ),
    Mutant(
        "tailer: a lost head counts as deleted if a later entry was deleted",
        _TAILER,
        "ZERO < deleted == head and await self._count_up(head, []) is not None",
        "ZERO < head <= deleted",
        (_TAILED + "test_deleted_entries_do_not_hide_a_lost_history",),
    ),
    Mutant(
        "tailer: a deleted head looks like a lost one",
        _TAILER,
        "ZERO < deleted == head and await self._count_up(head, []) is not None",
        "False",
        (_TAILED + "test_deleted_entries_do_not_look_like_a_lost_history",),
    ),
    # Streams that are made anew
    Mutant(
        "tailer: a stream that was made anew looks trimmed",
        _TAILER,
        "        if self._made_anew(info, whole=whole):",
        "        if False:",
        (_HISTORY + "test_a_client_of_the_empty_beginning_learns_that_a_history_was_lost",),
    ),
    Mutant(
        "tailer: a stream that was trimmed looks as if it was made anew",
        _TAILER,
        "        if self._made_anew(info, whole=whole):",
        "        if self._window.head > ZERO:",
        (_TAILED + "test_a_stream_that_was_trimmed_past_the_head_is_not_taken_for_a_new_one",),
    ),
    Mutant(
        "dropped: the beginning of a stream that was made anew is trusted",
        _DROPPED,
        "            return self._anew",
        "            return False",
        (_HISTORY + "test_a_client_of_the_empty_beginning_learns_that_a_history_was_lost",),
    ),
    Mutant(
        "dropped: a connected client trusts an id that a stream made anew gives again",
        _DROPPED,
        "        return self._now is None or position in self._now",
        "        return position in (self._now or ())",
        (_FORGOTTEN + "test_what_was_lost_just_now_concerns_those_that_are_connected",),
    ),
    # Dropped ends
    Mutant(
        "dropped: all positions up to the end of a lost part count as lost",
        _DROPPED,
        "        return any(position in part.ids for part in self._parts)",
        "        return any(part.parted < position <= part.end for part in self._parts)",
        ("tests/e2e/test_failover.py::test_a_master_whose_clock_was_ahead_leaves_no_trace",),
    ),
    Mutant(
        "dropped: ids are remembered without a bound",
        _DROPPED,
        "        while len(parts) > 1 and",
        "        while False and",
        (_FORGOTTEN + "test_the_oldest_parts_are_forgotten_and_the_newest_is_kept_whole",),
    ),
    Mutant(
        "dropped: a second failover forgets the first one",
        _DROPPED,
        "        self._keep([*earlier, _Part(parted, end, self._now)])",
        "        self._keep([_Part(parted, end, self._now)])",
        (_FORGOTTEN + "test_a_reader_goes_on_where_the_first_of_its_lost_parts_began",),
    ),
    Mutant(
        "window: a dropped tail is not remembered",
        _WINDOW,
        "        self.dropped.end(position, self.head, ids)\n",
        "",
        (_WINDOWS + "test_a_reader_of_a_dropped_tail_goes_back_to_where_the_histories_part",),
    ),
    Mutant(
        "window: after a rewind a reader goes on at the end of the dropped tail",
        _WINDOW,
        "        parted = self.dropped.parted(position, self.floor)",
        "        parted = None",
        (_WINDOWS + "test_a_reader_of_a_dropped_tail_goes_back_to_where_the_histories_part",),
    ),
    # The id just before an entry
    Mutant(
        "window: the id just before any entry is covered",
        _WINDOW,
        "if may_begin and position == following.before():",
        "if position == following.before():",
        (_HISTORY + "test_a_lost_entry_is_announced_though_the_next_id_follows",),
    ),
    Mutant(
        "window: the oldest frame of a window counts as the oldest that is retained",
        _WINDOW,
        "(self.complete and index == self._first)",
        "index == self._first",
        (_WINDOWS + "test_the_id_before_an_entry_is_a_boundary_only_if_nothing_older_is_retained",),
    ),
    Mutant(
        "window: a boundary is good in one window only",
        _WINDOW,
        "may_begin = position.is_boundary or",
        "may_begin = False or",
        (_HISTORY + "test_the_position_before_the_oldest_retained_entry_is_good_on_any_node",),
    ),
    Mutant(
        "replayer: the id just before any entry proves a page",
        "broadcaster/backend/replayer.py",
        "return position.is_boundary or not await source.back_from(position, 1)",
        "return True",
        (_HISTORY + "test_a_lost_entry_is_announced_though_the_next_id_follows",),
    ),
)
