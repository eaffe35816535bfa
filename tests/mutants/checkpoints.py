"""Mutants of checkpoints: what proves them, and what is written of them."""

from __future__ import annotations

from tests.mutants import Mutant

_CHECKPOINT = "broadcaster/backend/checkpoints/checkpoint.py"
_FLUSH = "broadcaster/backend/checkpoints/flush.py"
_FLUSHING = "broadcaster/node/state/flushing.py"
_FOLDING = "broadcaster/node/state/folding.py"
_MOVING = "broadcaster/backend/checkpoints/moving.py"
_RESTORING = "broadcaster/node/state/restoring.py"
_MOVED = "tests/backend/checkpoints/test_moving.py::"
_READ = "tests/backend/checkpoints/test_checkpoint.py::"
_WRITTEN = "tests/backend/checkpoints/test_flush.py::"
_FOLDER = "tests/node/state/test_folder.py::"
_RESTORED = "tests/node/state/test_restoring.py::"

MUTANTS: tuple[Mutant, ...] = (
    # Reading
    Mutant(
        "checkpoint: another maker meanwhile goes unnoticed",
        _CHECKPOINT,
        "again.maker != mark.maker",
        "again.rules != mark.rules",
        (_READ + "test_a_checkpoint_that_changes_its_maker_is_read_again",),
    ),
    Mutant(
        "checkpoint: another server meanwhile goes unnoticed",
        _CHECKPOINT,
        "self._stream.connections != connections",
        "self._stream.connections < connections",
        (_READ + "test_a_checkpoint_that_two_connections_have_read_is_read_again",),
    ),
    Mutant(
        "checkpoint: one that has gone on while its log was trimmed counts as lost",
        _CHECKPOINT,
        "if start is None and again != mark:",
        "if False:",
        (_READ + "test_a_checkpoint_that_goes_on_while_its_log_is_trimmed_is_read_again",),
    ),
    Mutant(
        "restoring: a checkpoint that has gone on meanwhile is not looked for",
        _RESTORING,
        "if self._read and (await self._read()).at != found.at:",
        "if False:",
        (_RESTORED + "test_if_its_log_is_missing_a_newer_checkpoint_is_used",),
    ),
    Mutant(
        "checkpoint: a stream with fewer entries than were folded counts as the same",
        _CHECKPOINT,
        "info.added - info.length == added",
        "info.added - info.length <= added",
        (_READ + "test_of_a_stream_that_was_removed_it_is_not_used",),
    ),
    Mutant(
        "checkpoint: one that is only begun is used",
        _CHECKPOINT,
        """            return Found(None, [], None, at or b"", mark)
        values""",
        """            return Found(mark, [], ZERO, at or b"", mark)
        values""",
        (_READ + "test_of_other_rules_or_only_begun_it_is_not_used",),
    ),
    # Writing
    Mutant(
        "flush: the mark of another folder is overwritten",
        _FLUSH,
        '~= expected then return "overtaken" end',
        '~= expected then expected = "" end',
        (_WRITTEN + "test_a_flush_onto_the_mark_of_another_writes_nothing",),
    ),
    Mutant(
        "flush: what the log does not have is written",
        _FLUSH,
        'if last ~= proof then return "unproven" end',
        "",
        (_WRITTEN + "test_a_flush_of_what_the_log_does_not_have_writes_nothing",),
    ),
    Mutant(
        "flush: the lock has two holders",
        _FLUSH,
        "if holder and holder ~= ARGV[1] then return 0 end",
        "",
        (_WRITTEN + "test_the_lock_has_one_holder",),
    ),
    Mutant(
        "flushing: the mark goes before the values",
        _FLUSHING,
        """        changed = frozenset(self._changed)
""",
        """        changed = frozenset(self._changed)
        if self._begun:
            await self._write(at=mark)
""",
        (_FOLDER + "test_after_a_kill_between_two_pieces_the_state_is_right",),
    ),
    Mutant(
        "folding: what was folded of a lost history stays",
        _FOLDING,
        """                self._window.rewind(position)
                self.begin_again()
""",
        """                self._window.rewind(position)
""",
        (_FOLDER + "test_after_a_failover_that_lost_the_tail_the_state_is_that_of_the_new_master",),
    ),
    # Moving
    Mutant(
        "moving: the log of former shards is not read",
        _MOVING,
        "            while rows := await source",
        "            while rows := [] and await source",
        (_MOVED + "test_values_move_with_their_keys",),
    ),
    Mutant(
        "moving: a key is folded onto what it had before",
        _MOVING,
        "if value.id > _newest(values)]",
        "if value.id]",
        (_MOVED + "test_a_key_returns_to_a_stream_that_has_kept_its_older_values",),
    ),
    Mutant(
        "moving: what has moved away is forgotten before it has arrived",
        _MOVING,
        "if not foreign or not await self.is_over():",
        "if not foreign:",
        (_MOVED + "test_a_move_that_was_killed_begins_again",),
    ),
    # Restoring
    Mutant(
        "restoring: a fold does not wait for the events of its values",
        _RESTORING,
        "if is_all and self._window.head >= found.newest:",
        "if is_all:",
        (_RESTORED + "test_it_waits_for_the_window_to_have_what_a_value_has",),
    ),
    Mutant(
        "restoring: a hole after the checkpoint goes unnoticed",
        _RESTORING,
        "if not page.proven or not page.frames:",
        "if not page.frames:",
        (_RESTORED + "test_a_checkpoint_whose_log_is_missing_is_not_used",),
    ),
    Mutant(
        "restoring: a break meanwhile goes unnoticed",
        _RESTORING,
        "        if self.breaks != breaks:\n",
        "        if self.breaks < breaks:\n",
        (_RESTORED + "test_a_break_while_it_is_made_begins_it_again",),
    ),
)
