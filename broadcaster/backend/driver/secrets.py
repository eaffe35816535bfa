"""Secrets in files, which are read again for each new connection. Part of `backend.driver`.

Kubernetes and Docker put secrets into files, and renew them while a program runs. Kubernetes swaps
a symbolic link. So a file is opened by its path each time, and nothing of it is kept.
"""

from __future__ import annotations

import errno
import os
import stat

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

_MOST_BYTES = 64 * 1024


class FileCredentials(CredentialProvider):
    """A user, and a password that stands in a file."""

    def __init__(self, path: str, username: str = "") -> None:
        """Name them. The file is read for each new connection, and not before.

        Args:
            path: a file with the password. White space around it is ignored.
            username: empty for the default user.
        """
        self.path = path
        self.username = username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the user, if there is one, and the password that the file has now.

        Raises:
            AuthenticationError: the file can't be read, or is empty. Both may pass.
        """
        try:
            # An editor may have put a byte order mark in front.
            password = _read(self.path).decode("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "") or "it is not UTF-8"
            raise AuthenticationError(f"no password in {self.path!r}: {reason}") from None
        if not password:
            raise AuthenticationError(f"no password in {self.path!r}: it is empty")
        return (self.username, password) if self.username else (password,)


def _read(path: str) -> bytes:
    """Return the content of a file, without waiting and within bounds.

    Raises:
        OSError: it can't be read, or is not a file, or is too large for a password.
    """
    # Opening a pipe would wait for its writer, and all clients of the node with it.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        content = os.read(file, _MOST_BYTES + 1)
    finally:
        os.close(file)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MOST_BYTES} bytes")
    return content
