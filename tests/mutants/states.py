"""Mutants of states: what a client is sent of one, and where it goes on."""

from __future__ import annotations

from tests.mutants import Mutant

_JOINING = "broadcaster/core/joining.py"
_OPENING = "broadcaster/core/opening.py"
_PAGED = "broadcaster/web/dialects/paged.py"
_JOINED = "tests/core/test_joining.py::"
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
)
