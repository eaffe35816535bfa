"""May a caller do this to a channel: the question that a policy answers. Pure.

The hub asks a policy once per channel of a request, before anything is opened. A policy is a
function of yours, `def` or `async def`. `public` is the one that is there without one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol, TypeAlias
from urllib.parse import parse_qs


class Action(StrEnum):
    """What a caller wants to do to a channel."""

    SUBSCRIBE = "subscribe"
    """Read its events."""
    REQUEST = "request"
    """Read a channel that is made on demand, and let a worker make the events."""
    DESCRIBE = "describe"
    """See its path, its length, and its oldest and newest id."""
    PUBLISH = "publish"
    """Add events. The hub has no such endpoint yet, so it does not ask about this."""


@dataclass(frozen=True)
class Caller:
    """The sender of a request, as far as the request's head tells.

    Attributes:
        headers: by name in lower case. Values of a header that occurs twice are joined
            by a comma, cookies by a semicolon.
        query_string: of the URL, as it was sent.
        address: the client's address and port; empty where the server knows none. Behind a trusted
            proxy it is the one that the proxy names.
    """

    headers: Mapping[str, str]
    query_string: str = ""
    address: str = ""

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """The cookies by name. Of two with one name, the first counts, as it has the longer path.

        "Cookies with longer paths are listed before cookies with shorter paths."
        https://www.rfc-editor.org/rfc/rfc6265#section-5.4
        """
        found: dict[str, str] = {}
        for pair in self.headers.get("cookie", "").split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals:
                found.setdefault(name, value.strip('"'))
        return found

    @cached_property
    def query(self) -> Mapping[str, tuple[str, ...]]:
        """The values of each parameter of the query, in order."""
        return {name: tuple(values) for name, values in parse_qs(self.query_string).items()}


@dataclass(frozen=True, slots=True)
class Grant:
    """The caller may do it.

    Attributes:
        subject: the user or service that the caller is. The hub does not use it yet.
    """

    subject: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """The caller may not do it.

    Attributes:
        detail: why; the caller can read it.
        status: 401 if the caller has to say who it is, else 403. Both end an `EventSource`.

    Raises:
        ValueError: the status is another one.
    """

    detail: str
    status: int = 403

    def __post_init__(self) -> None:
        """Check the status."""
        if self.status not in (401, 403):
            raise ValueError(f"a refusal has the status 401 or 403, not {self.status}")


Decision: TypeAlias = Grant | Denied


class Policy(Protocol):
    """Decides what a caller may do: any function with these arguments, `def` or `async def`."""

    def __call__(
        self, caller: Caller, action: Action, channel: str, keys: frozenset[str], /
    ) -> Decision | Awaitable[Decision]:
        """Decide about one channel of a request.

        Args:
            caller: that sent the request.
            action: that it wants.
            channel: the name of the channel.
            keys: the only keys whose events it wants; none means all.

        Returns:
            The decision. An exception, or anything else, is answered with 500. So a mistake of the
            policy lets no caller in.
        """


def public(_: Caller, __: Action, ___: str, ____: frozenset[str], /) -> Grant:
    """Grant everything to every caller: the policy of a hub that is given no other."""
    return Grant()
