"""Mutants of resuming: where a client begins, where it goes on, and when it is reset."""

from __future__ import annotations

from tests.mutants import Mutant

_OPENING = "broadcaster/core/resume/opening.py"
_RETURNING = "broadcaster/core/resume/returning.py"
_RESUME = "broadcaster/core/resume/machine.py"
_RULES = "broadcaster/core/resume/rules.py"
_QUESTIONS = "broadcaster/node/questions.py"
_PASSES = "broadcaster/core/state/passes.py"
_PASSED = "tests/core/resume/test_passing.py::"
_HUB = "tests/core/fanout/test_hub.py::"
_RESUMED = "tests/core/resume/test_machine.py::"
_STREAM = "tests/web/test_endpoint.py::"
_NODES = "tests/e2e/test_nodes.py::"

MUTANTS: tuple[Mutant, ...] = (
    # Before the first byte
    Mutant(
        "opening: newcomers that open together exceed the limit",
        _OPENING,
        "reason = self._why_shed(self._subscription.streams)",
        "reason = None if self._asked else self._why_shed(self._subscription.streams)",
        (_STREAM + "test_the_limit_holds_for_newcomers_that_come_together",),
    ),
    Mutant(
        "opening: the first id is sent without a proof",
        _RESUME,
        "first = self._hello()",
        "first = self._hello(self._subscription.cursor(self.position))",
        (_NODES + "test_the_first_id_is_always_one_of_an_entry",),
    ),
    Mutant(
        "opening: a client that saw the terminal event starts again",
        _OPENING,
        "        if self._returning is not None and self._returning.over:",
        "        if False:",
        (_STREAM + "test_an_order_is_replayed_and_followed_to_its_end",),
    ),
    Mutant(
        "opening: a terminal event is looked for in the window only",
        _RETURNING,
        "if frame is None and (at_floor or window.place(position) is not Place.COVERED):",
        "if False:",
        ("tests/e2e/test_resume.py::test_the_end_counts_though_it_has_left_the_window",),
    ),
    Mutant(
        "opening: a terminal event at the window's floor is not looked up",
        _RETURNING,
        "at_floor = position == window.floor != ZERO",
        "at_floor = False",
        ("tests/core/resume/test_opening.py::test_an_end_that_is_not_in_the_window_is_asked_for",),
    ),
    Mutant(
        "opening: a start time is accepted while ids lie in the future",
        _OPENING,
        "if isinstance(wanted.start, int) and (detail := self._no_times()):",
        'if detail := "":',
        (_NODES + "test_an_id_far_in_the_future_is_reported_and_start_times_are_refused",),
    ),
    # Answers of the log
    Mutant(
        "resume: an unproven page is sent",
        _RULES,
        "Said.UNPROVEN: Outcome.TRIMMED,",
        "Said.UNPROVEN: Outcome.PAST,",
        (_HUB + "test_a_reset_without_an_entry_to_stand_on_has_no_id",),
    ),
    Mutant(
        "resume: a client at the newest entry behind the window is reset",
        _RULES,
        "Said.NOTHING_MORE: Outcome.WAIT_LOG,",
        "Said.NOTHING_MORE: Outcome.TRIMMED,",
        (_RESUMED + "test_behind_with_nothing_that_follows_waits_for_the_log",),
    ),
    Mutant(
        "resume: an id ahead of this node counts as confirmed",
        _RULES,
        "Said.NO: Outcome.ROLLBACK}",
        "Said.NO: Outcome.CONFIRM}",
        (_NODES + "test_an_id_that_redis_does_not_know_is_a_rollback",),
    ),
    Mutant(
        "resume: the log is not asked about an id ahead of this node",
        _RULES,
        "Rule(Exists, {Said.YES: Outcome.CONFIRM, Said.NO: Outcome.ROLLBACK})",
        "Rule(None, {Said.UNASKED: Outcome.WAIT_TAILER})",
        (_HUB + "test_a_subscriber_ahead_of_this_node_waits_for_it",),
    ),
    Mutant(
        "resume: a reset skips entries that are retained before the window",
        _RULES,
        "Said.NONE: Outcome.OLDER}",
        "Said.NONE: Outcome.FLOOR}",
        (_NODES + "test_cursors_at_the_trim_edge",),
    ),
    Mutant(
        "resume: a page from the log may reach beyond the window's floor",
        "broadcaster/core/resume/page.py",
        "if positions[stream] < floor < end:",
        "if False:",
        (_HUB + "test_events_in_the_window_are_not_read_from_redis",),
    ),
    Mutant(
        "resume: an empty page counts as a send",
        _RESUME,
        "Send((page,) if page.data else (), over=page.over)",
        "Send((page,), over=page.over)",
        (_HUB + "test_a_replay_of_nothing_gets_heartbeats_that_move_its_cursor",),
    ),
    Mutant(
        "resume: an answer from before a rollback is believed",
        "broadcaster/core/resume/inquiry.py",
        "        self._forget(stream)\n        if self._windows[stream].dropped",
        "        if self._windows[stream].dropped",
        (_HUB + "test_an_id_that_was_confirmed_is_asked_about_again_after_a_rewind",),
    ),
    Mutant(
        "questions: a question that Redis can't answer is not asked again",
        _QUESTIONS,
        "        except BroadcasterError as error:",
        "        except ZeroDivisionError as error:",
        ("tests/node/test_questions.py::test_a_log_that_is_away_is_asked_again_after_a_pause",),
    ),
    # Resets after a dropped tail
    Mutant(
        "resume: a client that saw a dropped tail gets no reset",
        "broadcaster/core/resume/inquiry.py",
        "        if stream in self.dropped:",
        "        if False:",
        (_HUB + "test_a_changed_history_makes_all_subscribers_of_the_stream_catch_up",),
    ),
    Mutant(
        "resume: a connected client gets no reset for a dropped tail",
        "broadcaster/core/resume/inquiry.py",
        "        if self._windows[stream].dropped.just_now(self._position[stream]):",
        "        if False:",
        (_HUB + "test_a_changed_history_makes_all_subscribers_of_the_stream_catch_up",),
    ),
    Mutant(
        "resume: a client that reconnects gets no reset for a dropped tail",
        _RESUME,
        "if resumed:  # any other position",
        "if False:  # any other position",
        (_HUB + "test_a_reused_id_is_trusted_only_if_it_was_sent_after_the_rewind",),
    ),
    Mutant(
        "resume: a newcomer gets a reset for a dropped tail",
        _RESUME,
        "if resumed:  # any other position",
        "if True:  # any other position",
        (_HUB + "test_a_reused_id_is_trusted_only_if_it_was_sent_after_the_rewind",),
    ),
    Mutant(
        "resume: no stream.live follows a reset",
        _RESUME,
        "        self._announce = True\n",
        "",
        (_HUB + "test_a_second_stream_live_follows_a_reset",),
    ),
    # Passes
    Mutant(
        "passes: a removal is superseded",
        _PASSES,
        "{*of.removes, *of.terminal, RESTART.type}",
        "{*of.terminal, RESTART.type}",
        (_PASSED + "test_whatever_happens_nothing_is_lost",),
    ),
    Mutant(
        "passes: a pass is not in the order of ids",
        _PASSES,
        "older = self._newest.pop(place, None)",
        "older = self._newest.get(place)",
        (
            "tests/core/state/test_passes.py::test_it_has_the_newest_event_of_each_key_and_type_in_order",
        ),
    ),
    Mutant(
        "passes: the next one is not gathered while one is sent",
        "broadcaster/core/resume/passing.py",
        "self._next[stream] = self._gathering(stream, begun.end)",
        "self._next.pop(stream, None)",
        (_PASSED + "test_a_slow_client_needs_neither_its_window_nor_the_log",),
    ),
    Mutant(
        "passes: what changes while a state is sent is not gathered",
        "broadcaster/core/resume/joining.py",
        "                self._passing.follow(self.positions)\n",
        "                pass\n",
        (_PASSED + "test_what_changes_while_a_state_is_sent_comes_after_it",),
    ),
    Mutant(
        "passes: a gathering has no bound",
        _PASSES,
        "if self.bytes > self._max_bytes:",
        "if False:",
        (_PASSED + "test_what_is_never_skipped_gives_way_to_the_state_if_it_is_too_much",),
    ),
    Mutant(
        "passes: a client whose pass is full is sent the same state for ever",
        "broadcaster/core/resume/passing.py",
        "self._context.states.forget(stream, self._subscription)",
        "pass",
        (_PASSED + "test_a_state_that_ends_where_a_pass_is_full_is_not_sent_again",),
    ),
    Mutant(
        "passes: a client that misses little of what it wants is sent less",
        _PASSES,
        "every = self._every if fits else None",
        "every = None",
        (_PASSED + "test_a_client_that_is_not_behind_in_what_it_wants_is_sent_all_of_that",),
    ),
    Mutant(
        "passes: a state that is not whole takes what a client has",
        "broadcaster/core/state/states.py",
        "return fold.offered and fold.since is None and",
        "return fold.offered and",
        (_PASSED + "test_a_state_that_is_not_whole_does_not_take_what_a_client_has",),
    ),
    Mutant(
        "passes: one goes on after its history has changed",
        "broadcaster/core/resume/passing.py",
        'history has changed."""\n        self._now.pop(stream, None)',
        'history has changed."""',
        (_PASSED + "test_a_change_of_the_history_ends_a_pass",),
    ),
)
