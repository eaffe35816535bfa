"""Files that settings name, such as passwords, keys and certificates. They may change at any time.

Kubernetes and Docker put secrets into files, and renew them while a program runs. Kubernetes swaps
a symbolic link. So a file is opened by its path each time. A path may also name a pipe or a device
by mistake. All clients of a node would wait for it, so such a thing is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TypeAlias

MAX_BYTES = 1024 * 1024
"""The most bytes of a file. A certificate with the chain above it has a few thousand."""

_Stamp: TypeAlias = tuple[int, ...] | None


def read(path: str) -> bytes:
    """Return the content of a file. It waits for no other program.

    Raises:
        OSError: it can't be read, is no regular file, or has more than `MAX_BYTES`. The error has
            the reason in `strerror`, and the path in `filename`.
    """
    with open(path, "rb", opener=_open) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", path)
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES} bytes", path)
    return content


def _open(path: str, flags: int) -> int:
    # To open a pipe would wait for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class Files:
    """Files that belong together, such as a certificate and its key, and their changes."""

    def __init__(self, *paths: str) -> None:
        """Note the files as they are now. None of them is read."""
        self._paths = paths
        self._seen = self._stamps()
        self._taken: list[_Stamp] | None = self._seen

    def read(self) -> list[bytes]:
        """Return the content of each file.

        Raises:
            OSError: one can't be used, see `read`. `changed` will return True again, since the
                reason may pass without a change, as with too many open files.
        """
        try:
            return [read(path) for path in self._paths]
        except OSError:
            self._taken = None
            raise

    def changed(self, *, settled: bool = False) -> bool:
        """Return True, once for each change, if the files are to be read again.

        Args:
            settled: wait until they were left alone between two calls, because files that belong
                together are often written one after the other. Call it regularly then.
        """
        stamps = self._stamps()
        was_left_alone, self._seen = stamps == self._seen, stamps
        if stamps == self._taken or (settled and not was_left_alone):
            return False
        self._taken = stamps
        return True

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: str) -> _Stamp:
    """Return what differs after a file was replaced, written, or made readable. None is no file."""
    try:
        status = os.stat(path)  # of the file behind a link
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
