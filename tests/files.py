"""What may be at the path of a secret, and can't be read as one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from broadcaster.settings.files import MAX_BYTES

_NOBODY = 65534


class Unusable(NamedTuple):
    """What can't be read.

    Attributes:
        make: puts it at a path where nothing is.
        why: what an error says, as a regular expression.
        denied: only rights stand against it.
    """

    make: Callable[[Path], object]
    why: str
    denied: bool = False

    def replace(self, path: Path) -> None:
        """Put it in the place of a file."""
        path.unlink()
        self.make(path)

    def is_why(self, text: str) -> bool:
        """Return True if a text has the reason."""
        return re.search(self.why, text) is not None

    @contextmanager
    def met(self) -> Iterator[None]:
        """Meet it as a user with no special rights. Root may read everything."""
        ours = os.geteuid()
        if self.denied and ours == 0:
            os.seteuid(_NOBODY)
        try:
            yield
        finally:
            os.seteuid(ours)


def _denied(path: Path) -> None:
    path.write_text("secret")
    path.chmod(0)


def swap(path: Path, text: str) -> None:
    """Replace a file as a secret of Kubernetes is: by another one, with a new name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


_KINDS = {
    "pipe": Unusable(os.mkfifo, "it is not a file"),
    "directory": Unusable(Path.mkdir, "[Ii]s a directory"),
    "device": Unusable(lambda path: path.symlink_to("/dev/zero"), "it is not a file"),
    "large": Unusable(lambda path: path.write_bytes(b"x" * (MAX_BYTES + 1)), "more than .* bytes"),
    "missing": Unusable(lambda path: path, "No such file"),
    "denied": Unusable(_denied, "Permission denied", denied=True),
}

#: Parametrizes `unusable`.
UNUSABLE = pytest.mark.parametrize("unusable", _KINDS.values(), ids=_KINDS)
