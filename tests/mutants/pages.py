"""Mutants of pages of the log: nothing is left out, and nothing stays taken."""

from __future__ import annotations

from tests.mutants import Mutant

_READING = "broadcaster/core/reading/reading.py"
_LOGPAGE = "broadcaster/core/reading/logpage.py"
_LOGPAGES = "broadcaster/web/logpages.py"
_READ = "tests/core/reading/test_reading.py::"
_PAGES = "tests/web/test_logpages.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "reading: what is not taken counts as delivered",
        _READING,
        "            self._hub.deliveries -= len(rest)\n",
        "",
        (_READ + "test_what_is_not_taken_is_not_delivered",),
    ),
    Mutant(
        "reading: the position does not move past what is left out",
        _READING,
        "        if not self._in_state:\n            positions.update(reached)",
        "        if not self._in_state:\n            pass",
        (_READ + "test_a_client_rests_after_a_page_that_leaves_much_out",),
    ),
    Mutant(
        "reading: it outlives its grant",
        _READING,
        "pushed=False, holder=serve.holder",
        "pushed=False",
        (_READ + "test_it_is_ended_with_its_grant_and_keeps_its_position",),
    ),
    Mutant(
        "logpage: JSON is encoded anew",
        _LOGPAGE,
        'name, data = b"data", event.data',
        'name, data = b"data", orjson.dumps(orjson.loads(event.data))',
        (_PAGES + "test_json_stays_as_it_was_sent",),
    ),
    Mutant(
        "logpages: a client that leaves keeps its place until the wait is over",
        "broadcaster/web/leaving.py",
        "        self.left = True\n",
        "",
        (_PAGES + "test_a_wait_takes_a_place_and_frees_it[it leaves-transport]",),
    ),
    Mutant(
        "logpages: a page takes no place",
        _LOGPAGES,
        "        node.limits.take(of)\n",
        "        node.limits.take(of._replace(address='elsewhere'))\n",
        (_PAGES + "test_a_wait_takes_a_place_and_frees_it",),
    ),
    Mutant(
        "logpages: a channel that is not listed is read by its name",
        _LOGPAGES,
        "node.settings.channels.items() if channel.listed}",
        "node.settings.channels.items()}",
        (_PAGES + "test_a_request_that_is_wrong_is_told_what_is_right",),
    ),
    Mutant(
        "logpages: an empty page where the log has not answered",
        _LOGPAGES,
        "            return None\n",
        "            pass\n",
        (_PAGES + "test_a_log_that_does_not_answer_is_503",),
    ),
    Mutant(
        "logpages: nothing more, where a page is full",
        _LOGPAGES,
        "more=not (reading.at_head or reading.ended)",
        "more=False",
        (_PAGES + "test_pages_go_through_the_log_behind_the_window",),
    ),
    Mutant(
        "statebody: a state that begins again has the half of before in it",
        "broadcaster/core/reading/statebody.py",
        "                self._events.clear()\n",
        "",
        ("tests/core/reading/test_statebody.py::test_a_state_that_begins_again_is_whole",),
    ),
    Mutant(
        "statepages: a client that has an old state is told that it is new",
        "broadcaster/web/statepages.py",
        "return tag if tag in known else",
        "return tag if known else",
        ("tests/web/test_statepages.py::test_a_state_is_sent_once",),
    ),
    Mutant(
        "statepages: a state that is too large is sent as an empty one",
        "broadcaster/web/statepages.py",
        "        if body.too_large:\n",
        "        if False:\n",
        ("tests/web/test_statepages.py::test_a_state_that_is_too_large_is_not_there_in_part",),
    ),
)
