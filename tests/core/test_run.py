from broadcaster.core import cursor
from broadcaster.core.event import EventId
from broadcaster.core.run import key_of, state_key_of

RUN = EventId(7, 1)


def test_the_key_of_a_run_is_what_workers_in_any_language_write() -> None:
    assert key_of("user", RUN) == key_of("user", "7-1") == "user#7-1"


def test_a_cursor_carries_its_run() -> None:
    text = cursor.render({"answers": EventId(8, 0)}, RUN)
    assert text == b"answers=8-0,run=7-1"


def test_the_progress_of_a_run_is_in_the_slot_of_its_stream() -> None:
    assert state_key_of("answers", RUN) == "{answers}:run:7-1"
