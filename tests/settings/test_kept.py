"""A file that has a value: it is read again when it changes, and a broken one changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError
from broadcaster.settings import kept
from broadcaster.settings.kept import LOOK_S, Kept
from tests.files import UNUSABLE, Unusable, swap


class Clock:
    """A monotonic clock, in the place of a module's `time`."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(kept, "time", made)
    return made


def number(content: bytes) -> int:
    if not content.isdigit():
        raise ValueError("it is no number")
    return int(content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_text("1")
    return made


def test_a_file_is_read_again_when_it_has_changed(path: Path, clock: Clock) -> None:
    file = Kept(str(path), number, "number")
    swap(path, "2")
    file.look()
    assert file.value == 1  # it was looked at a moment ago
    for _ in range(2):
        clock.now_s += LOOK_S
        file.look()
        assert (file.value, file.version) == (2, 1)


@pytest.mark.parametrize("text", ["no", None])
def test_a_file_that_breaks_keeps_its_value_until_it_is_whole(
    path: Path, clock: Clock, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = Kept(str(path), number, "number")
    path.unlink() if text is None else swap(path, text)
    clock.now_s += LOOK_S
    file.look()
    assert (file.value, file.version) == (1, 0)
    assert f"the number in '{path}' stays as it was" in caplog.text
    swap(path, "2")
    clock.now_s += LOOK_S
    file.look()
    assert file.value == 2


@UNUSABLE
def test_what_is_no_file_keeps_the_value_and_is_logged_once(
    path: Path, clock: Clock, unusable: Unusable, caplog: pytest.LogCaptureFixture
) -> None:
    file = Kept(str(path), number, "number")
    unusable.replace(path)
    for _ in range(3):
        clock.now_s += LOOK_S
        with unusable.met():
            file.look()
    assert file.value == 1
    (record,) = caplog.records
    assert unusable.is_why(record.getMessage())


@UNUSABLE
def test_what_is_no_file_at_the_start_is_an_error(tmp_path: Path, unusable: Unusable) -> None:
    path = tmp_path / "key"
    unusable.make(path)
    with unusable.met(), pytest.raises(ConfigurationError, match=f"{path}.*{unusable.why}"):
        Kept(str(path), number, "number")
