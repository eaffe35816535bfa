"""The node's certificate, which is read again when its files change."""

from __future__ import annotations

import asyncio
import logging
import ssl

from broadcaster.errors import ConfigurationError
from broadcaster.settings import Settings
from broadcaster.settings.files import Files

logger = logging.getLogger(__name__)

_LOOK_S = 1.0


class Certificate:
    """The node's certificate and its key, which are read again when their files change.

    Attributes:
        context: for new connections. Open ones keep the one that they began with.
    """

    context: ssl.SSLContext

    def __init__(self, certificate: str, key: str = "") -> None:
        """Read the files.

        Args:
            certificate: a PEM file with the certificate, and the chain above it.
            key: a PEM file with the key; empty if the key is in the other file.

        Raises:
            ConfigurationError: they can't be used. The message says why.
        """
        self._certificate, self._key = certificate, key or certificate
        self._files = Files(self._certificate, self._key)
        self._trouble = ""
        self.context = self._read()

    @classmethod
    def of(cls, settings: Settings) -> Certificate | None:
        """Read the certificate of the settings, if they name one. Raises as `__init__` does."""
        if not settings.tls_certificate:
            return None
        return cls(settings.tls_certificate, settings.tls_key)

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            self._files.read()  # OpenSSL would wait for a pipe, and names no file in its errors
            context.load_cert_chain(self._certificate, self._key, _no_passphrase)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"tls_certificate: {_why_not(error)}") from error
        return context

    def look(self) -> None:
        """Read the files again if they have changed, and were left alone since the last look."""
        if not self._files.changed(settled=True):
            return
        trouble = ""
        try:
            self.context = self._read()
            logger.info("new connections get the new certificate")
        except ConfigurationError as error:
            trouble = str(error)
            if trouble != self._trouble:
                logger.error("the new certificate can't be used, so the old one stays: %s", trouble)
        self._trouble = trouble

    async def watch(self) -> None:
        """Look again and again, until cancelled. A file system that hangs holds up nothing else."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await asyncio.to_thread(self.look)


def _no_passphrase() -> str:
    raise ValueError("the key needs a passphrase; give one without")


def _why_not(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        return f"it needs a certificate and a key in PEM: {error.reason or error}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename!r}: {error.strerror}"
    return str(error)
