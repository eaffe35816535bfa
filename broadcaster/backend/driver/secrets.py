"""Secrets in files, which are read again for each new connection. Part of `backend.driver`.

Kubernetes and Docker put secrets into files, and renew them while a program runs. Kubernetes swaps
a symbolic link. So a file is opened by its path each time, and nothing of it is kept.
"""

from __future__ import annotations

from pathlib import Path

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError


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
            password = Path(self.path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "") or "it is not UTF-8"
            raise AuthenticationError(f"no password in {self.path!r}: {reason}") from None
        if not password:
            raise AuthenticationError(f"no password in {self.path!r}: it is empty")
        return (self.username, password) if self.username else (password,)
