"""Passwords in files, which are read again for each new connection. Part of `backend.driver`."""

from __future__ import annotations

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

from broadcaster.settings import files


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
            password = files.read(self.path).decode("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "") or "it is not UTF-8"
            raise AuthenticationError(f"no password in {self.path!r}: {reason}") from None
        if not password:
            raise AuthenticationError(f"no password in {self.path!r}: it is empty")
        return (self.username, password) if self.username else (password,)
