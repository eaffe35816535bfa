from broadcaster.core import cursor
from broadcaster.core.event import EventId
from broadcaster.core.run import key_of

RUN = EventId(7, 1)


def test_the_key_of_a_run_is_what_workers_in_any_language_write() -> None:
    assert key_of("user", RUN) == key_of("user", "7-1") == "user#7-1"


def test_a_cursor_carries_its_run() -> None:
    text = cursor.render({"answers": EventId(8, 0)}, RUN)
    assert text == b"answers=8-0,run=7-1"


def test_a_run_with_an_id_of_its_own_is_its_own_key() -> None:
    assert key_of("7-1", RUN) == key_of("7-1", "7-1") == "7-1"
