"""Mutants of answers: numbers and ends in the formats, and responses that are whole or cut."""

from __future__ import annotations

from tests.mutants import Mutant

_RESPONSES = "tests/answers/test_responses.py::"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "answers: a chat of ai can't tell a stopped answer from a cut one",
        "broadcaster/answers/formats/ai_sdk.py",
        '_part({"type": "abort"}) + _finish("other")',
        '_part({"type": "abort"}) + _DONE',
        ("tests/answers/formats/test_ai_sdk.py::test_the_ends",),
    ),
    Mutant(
        "answers: numbers from before a restart are used again",
        "broadcaster/answers/formats/openai.py",
        "self.first = told + _BEGINNING * restarts",
        "self.first = 0",
        (
            "tests/answers/formats/test_openai.py"
            "::test_numbers_go_on_above_those_from_before_a_restart",
        ),
    ),
    Mutant(
        "answers: a number from before a restart gets the middle of another text",
        "broadcaster/answers/responses.py",
        "        if after is not None and after < made.first:",
        "        if False:",
        (_RESPONSES + "test_a_number_from_before_a_restart_is_refused",),
    ),
    Mutant(
        "answers: a run that is asked for again begins anew",
        "broadcaster/backend/runs/scripts.py",
        'if redis.call("EXISTS", record) == 1 then return "created" end',
        "",
        (
            "tests/backend/runs/test_records.py"
            "::test_a_run_that_is_asked_for_twice_goes_on_as_it_is[single]",
        ),
    ),
    Mutant(
        "answers: the same name in two chats is one run",
        "broadcaster/core/runs/record.py",
        'text = f"{len(key)} {key}{name}".encode',
        "text = name.encode",
        (
            "tests/core/runs/test_record.py"
            "::test_a_run_that_its_client_names_is_the_same_for_the_same_key_and_name",
        ),
    ),
    Mutant(
        "answers: a stream whose answer is refused stays open",
        "broadcaster/answers/facade.py",
        "            refusal.push_async_callback(closed, stream)\n",
        "",
        ("tests/answers/test_facade.py::test_a_stream_whose_answer_does_not_begin_is_closed",),
    ),
    Mutant(
        "answers: a subject may have any number of answers that begin at once",
        "broadcaster/answers/facade.py",
        "most = self._settings.runs_per_subject if subject else 0",
        "most = 0",
        ("tests/answers/test_facade.py::test_a_subject_has_few_answers_that_are_not_over",),
    ),
    Mutant(
        "answers: a response that a stopping server cancels closes what is still asked",
        "broadcaster/web/runs/formatted.py",
        "                    await _dropped(self._coming)",
        "                    pass",
        ("tests/answers/test_facade.py::test_a_server_that_stops_may_cancel_a_response",),
    ),
    Mutant(
        "answers: the hash that names a run outlives it",
        "broadcaster/backend/runs/scripts.py",
        '    redis.call("PEXPIRE", about, known[2])',
        "",
        (
            "tests/backend/runs/test_records.py"
            "::test_no_key_of_a_run_is_left_when_its_time_is_over[single]",
        ),
    ),
)
