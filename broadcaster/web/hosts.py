"""Checks the `Host` of a request: a hub answers to its own names only. Pure.

A page of any origin can let its own name mean 127.0.0.1, and then read a hub that listens only
there as its own origin (DNS rebinding). Its name is in `Host`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from broadcaster.settings import Settings

LOOPBACK = ("localhost", "*.localhost", "127.0.0.0/8", "[::1]")
"""The default on a loopback address. `127.0.0.0/8` stands for all addresses in it."""

_ADDRESSES = "127.0.0.0/8"


def with_default_hosts(settings: Settings) -> Settings:
    """Return settings that allow the names of this machine only, if only it reaches the hub.

    Args:
        settings: of a hub that listens on their `host`. A setting `allowed_hosts` is kept.
    """
    if settings.allowed_hosts or not is_loopback(settings.host):
        return settings
    return settings.model_copy(update={"allowed_hosts": LOOPBACK})


def is_loopback(host: str) -> bool:
    """Return True if only this machine reaches what listens on a host name or an address."""
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost") or _is_loopback_address(name)


class Hosts:
    """The names that are answered to."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Read the setting `allowed_hosts`.

        Args:
            allowed: names without a port, such as `a.example`, or `*.a.example` for all names below
                it. None at all, or `*`, allows every name.
        """
        names = [name.lower() for name in allowed]
        self.any = not names or "*" in names
        self._exact = frozenset(names)
        self._below = tuple(name[1:] for name in names if name.startswith("*."))

    def refusal(self, scope: Any) -> tuple[int, str] | None:
        """Return status and text of the answer to a request for another host; None if it is ours.

        "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message
        that lacks a Host header field and to any request message that contains more than one".
        https://www.rfc-editor.org/rfc/rfc9112#section-3.2
        """
        found = [value for name, value in scope["headers"] if name == b"host"]
        if len(found) > 1:
            return 400, "a request has one Host"
        if self.any:
            return None
        if not found:  # no browser speaks HTTP/1.0
            old = scope.get("http_version") == "1.0"
            return None if old else (400, "a request names its Host")
        name = _without_port(found[0].decode("latin-1").lower())
        if self._is_ours(name):
            return None
        return 421, f"this hub is not {name[:64]!r}; allowed_hosts has the names that it answers to"

    def _is_ours(self, name: str) -> bool:
        if name in self._exact or name.endswith(self._below):
            return True
        return _ADDRESSES in self._exact and name.startswith("127.") and _is_loopback_address(name)


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    if separator and (not port or port.isdecimal()) and (":" not in name or name.endswith("]")):
        host = name
    return host.removesuffix(".")


def _is_loopback_address(name: str) -> bool:
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
