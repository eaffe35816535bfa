"""Mutants of states: what a client is sent of one, and where it goes on."""

from __future__ import annotations

from tests.mutants import Mutant

_JOINING = "broadcaster/core/resume/joining.py"
_KEYED = "broadcaster/core/resume/keyed.py"
_OPENING = "broadcaster/core/resume/opening.py"
_RETURNING = "broadcaster/core/resume/returning.py"
_PAGED = "broadcaster/web/dialects/paged.py"
_JOINED = "tests/core/resume/test_joining.py::"
_FOLDED = "tests/core/state/test_fold.py::"
_ENDED = "tests/core/resume/test_returning.py::"
_KEYS = "tests/core/resume/test_keyed.py::"
_READ = "tests/backend/checkpoints/test_checkpoint.py::"
_SOCKETS = "tests/web/test_state.py::"

MUTANTS: tuple[Mutant, ...] = (
    # The id amid a state
    Mutant(
        "state: a client that is cut amid the state after a reset comes back with its former id",
        _JOINING,
        """                self._told.add(stream)
                yield""",
        "                yield",
        (
            _JOINED + "test_a_reset_is_followed_by_the_state",
            _SOCKETS
            + "test_a_client_that_is_cut_amid_a_state_gets_all_of_it_from_a_node_that_knows_more",
        ),
    ),
    Mutant(
        "state: a client that comes back amid a state begins at the head",
        _OPENING,
        'start == "state" or stream in self._wanted.states',
        'start == "state"',
        (
            _SOCKETS
            + "test_a_client_that_is_cut_amid_a_state_gets_all_of_it_from_a_node_that_knows_more",
        ),
    ),
    Mutant(
        "state: an id that can't be read is forgotten before all resets were sent",
        _JOINING,
        "if lost and isinstance(lost.requested, str) and stream not in self._told:",
        "if False:",
        (_JOINED + "test_no_id_leaves_before_the_last_reset_after_a_cursor_that_cannot_be_read",),
    ),
    Mutant(
        "state: a page of the log goes on at the head after an id amid a state",
        _PAGED,
        "    if not wanted.states:\n",
        "    if True:\n",
        (
            "tests/web/dialects/test_paged.py::"
            "test_a_page_has_no_state_so_an_id_amid_one_is_a_reset",
        ),
    ),
    Mutant(
        "state: the end of a key that is over is not sent if it was trimmed",
        _OPENING,
        'if start != "latest" and self._ended_by(stream, found):',
        "if False:",
        (_JOINED + "test_a_newcomer_is_sent_the_end_of_a_key_that_lies_before_what_is_retained",),
    ),
    Mutant(
        "state: the end of a key is not sent to those that begin at a time after it",
        _OPENING,
        'if start != "latest" and self._ended_by(stream, found):',
        'if start == "earliest" and self._ended_by(stream, found):',
        (_JOINED + "test_a_newcomer_that_begins_at_a_time_after_the_end_is_sent_it_too",),
    ),
    Mutant(
        "state: the position after a state that is over is the head",
        _JOINING,
        "self.positions[part.stream] = part.frames()[-1].id",
        "pass",
        (_ENDED + "test_the_position_after_an_ended_state_is_that_of_the_end",),
    ),
    Mutant(
        "state: an end that is only in the checkpoint is not known to those that come back",
        _RETURNING,
        "self.over, self._gone = None, True",
        "pass",
        (_ENDED + "test_an_end_that_was_trimmed_is_looked_up_in_the_checkpoint",),
    ),
    Mutant(
        "state: each client of a herd has the state rendered anew",
        "broadcaster/core/state/states.py",
        "            self._held[stream] = made\n",
        "            pass\n",
        (_JOINED + "test_a_state_is_held_for_the_next_client_until_an_event_comes",),
    ),
    # What a fold keeps
    Mutant(
        "fold: events of many keys stay unfolded",
        "broadcaster/core/state/fold.py",
        "if len(self._unfolded) > _UNFOLDED_KEYS:",
        "if False:",
        (_FOLDED + "test_events_of_many_keys_are_folded_in_time",),
    ),
    Mutant(
        "fold: a state is too large while its events are",
        "broadcaster/core/state/fold.py",
        "while self._unfolded and self.bytes > most:",
        "while False:",
        (_FOLDED + "test_a_state_is_too_large_if_its_values_are_and_not_their_events",),
    ),
    Mutant(
        "texts: what comes after a text is not compared",
        "broadcaster/core/state/texts.py",
        "if not wire.startswith(before, start) or not wire.endswith(after):",
        "if not wire.startswith(before, start):",
        ("tests/core/state/test_texts.py::test_only_what_differs_in_the_text_alone_is_joined",),
    ),
    Mutant(
        "kept: an event of the default type replaces none",
        "broadcaster/core/state/kept.py",
        'line = b"\\ndata:"',
        'line = b"\\nevent: message"',
        ("tests/core/state/test_kept.py::test_an_event_replaces_that_of_its_type",),
    ),
    # Single keys of what is too large
    Mutant(
        "keyed: a checkpoint that is ahead of the tailer is the state already",
        _KEYED,
        "if max(keyed.position, keyed.newest) > self._context.windows[stream].head:",
        "if False:",
        (_KEYS + "test_a_checkpoint_that_is_ahead_of_the_tailer_is_waited_for",),
    ),
    Mutant(
        "keyed: a page with a gap is folded",
        _KEYED,
        "or not answer.proven or not answer.frames:",
        "or not answer.frames:",
        (_KEYS + "test_without_a_whole_log_after_it_there_is_no_state",),
    ),
    Mutant(
        "keyed: a log that was trimmed meanwhile is not asked for again",
        _KEYED,
        "self.unknown, self.overtaken = self.overtaken, True",
        "self.unknown = True",
        (_KEYS + "test_without_a_whole_log_after_it_there_is_no_state",),
    ),
    Mutant(
        "keyed: what a lost history had is kept",
        _KEYED,
        "        self._keyed.pop(stream, None)\n",
        "        pass\n",
        (_KEYS + "test_it_begins_anew_when_the_history_changes",),
    ),
    Mutant(
        "keyed: a late answer counts",
        _KEYED,
        """        if keyed is not None and keyed.ask is ask:
            keyed.ask = None
            if""",
        """        if keyed is not None:
            keyed.ask = None
            if""",
        (_KEYS + "test_a_question_without_an_answer_is_asked_again_and_a_late_answer_is_ignored",),
    ),
    Mutant(
        "keyed: two servers make one state",
        "broadcaster/backend/checkpoints/checkpoint.py",
        "if self._stream.connections == connections:  # else",
        "if True:  # else",
        (_READ + "test_keys_that_two_connections_have_read_are_read_again",),
    ),
    Mutant(
        "state: a client that leaves keeps its place while the state is made",
        "broadcaster/web/statepages.py",
        "                    leaving.watch()\n",
        "",
        (
            "tests/web/test_statepages.py::"
            "test_a_client_that_leaves_while_its_state_is_made_takes_no_place",
        ),
    ),
)
