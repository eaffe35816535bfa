"""Files that settings name: what can't be read is refused, and each change is told once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broadcaster.settings import files
from broadcaster.settings.files import MAX_BYTES, Files, read
from tests.files import UNUSABLE, Unusable
from tests.wait import PATIENCE_S, until_sync


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * MAX_BYTES)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read(str(tmp_path / "link")) == b"x" * MAX_BYTES


@UNUSABLE
def test_what_is_no_secret_is_refused_with_the_reason(tmp_path: Path, unusable: Unusable) -> None:
    path = tmp_path / "file"
    unusable.make(path)
    with unusable.met(), pytest.raises(OSError, match=unusable.why) as caught:
        read(str(path))
    assert caught.value.filename == str(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, str(pipe))
        try:
            with pytest.raises(OSError, match="it is not a file"):
                reading.result(PATIENCE_S)
        finally:
            os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # a writer at last


def test_a_change_is_told_once(tmp_path: Path) -> None:
    path, target = tmp_path / "file", tmp_path / "target"
    target.write_text("of the link")
    path.write_text("before")
    changes = Files(str(path))
    assert not changes.changed()
    for change in (
        lambda: path.write_text("after and longer"),
        path.unlink,
        lambda: path.symlink_to(target),
        lambda: target.write_text("of the link again"),
    ):
        change()
        assert [changes.changed() for _ in range(3)] == [True, False, False]
    assert changes.read() == [b"of the link again"]


def test_a_change_of_rights_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("secret")
    changes = Files(str(path))

    def is_told() -> bool:
        path.chmod(0o600)  # the clock of a file system may tick a hundred times in a second
        return changes.changed()

    until_sync(is_told)


def test_files_that_are_written_one_after_the_other_change_together(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("certificate", "key")]
    for path in paths:
        path.write_text("old")
    changes = Files(*map(str, paths))
    for path in paths:
        path.write_text("new one")
        assert not changes.changed(settled=True)
    assert [changes.changed(settled=True) for _ in range(3)] == [True, False, False]
    assert changes.read() == [b"new one"] * 2


def test_a_file_that_could_not_be_read_is_read_again_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("secret")
    changes = Files(str(path))
    with monkeypatch.context() as patched:
        patched.setattr(files, "MAX_BYTES", 1)  # as if too many files were open
        with pytest.raises(OSError, match="more than 1 bytes"):
            changes.read()
    assert changes.changed()
    assert changes.read() == [b"secret"]
    assert not changes.changed()
