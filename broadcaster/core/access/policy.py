"""The question that a policy answers: may this caller do this to this channel? Pure.

The hub asks a policy once per channel of a request, before anything is opened. A policy is a
function of yours, `def` or `async def`. Without one, the hub uses `public`.
`core.access.grants` reads what a policy has decided.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from math import isnan
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs


class Action(StrEnum):
    """The action that a caller wants to take on a channel."""

    SUBSCRIBE = "subscribe"
    """Read its events."""
    REQUEST = "request"
    """Read a channel that is made on demand, and let a worker make the events."""
    DESCRIBE = "describe"
    """See its path, its length, and its oldest and newest id."""
    PUBLISH = "publish"
    """Add events. The keys are those of the events; none means events without a key."""


@dataclass(frozen=True)
class Caller:
    """The sender of a request, as far as the request's head tells.

    Attributes:
        headers: by name in lower case. Values of a header that occurs twice are joined
            by a comma, cookies by a semicolon.
        query_string: of the URL, as it was sent.
        address: the client's address and port; empty where the server knows none. Behind a trusted
            proxy it is the one that the proxy names.
        claims: what a verified token of the request says, such as `sub` and `exp`; empty if it has
            no token. The event stream ends at `exp`.
    """

    headers: Mapping[str, str]
    query_string: str = ""
    address: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """Return the cookies by name. Of two with one name, the first one has the longer path.

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
        """Return the values of each parameter of the query, in order."""
        if not self.query_string:
            return {}
        return {name: tuple(values) for name, values in parse_qs(self.query_string).items()}


@dataclass(frozen=True, slots=True)
class Grant:
    """The caller may do it.

    Attributes:
        subject: the user or service that the caller is. All grants of a request name the same one,
            or none.
        keys: the keys that it covers, and no others. `*` is every key, and also the events without
            a key. If they are None, it covers what the caller asks for. A caller that names no key
            gets the events of these keys.
        expires_s: seconds since 1970, by the clock of the node's machine, at which it ends. An open
            event stream ends then too. None is never.

    Raises:
        TypeError: `keys` is one text, or an attribute has another type.
    """

    subject: str = ""
    keys: frozenset[str] | None = None
    expires_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse mistakes while the policy runs, so that they are answered as mistakes of it."""
        _check_grant(self.subject, self.keys, self.expires_s)


def _check_grant(subject: Any, keys: Any, expires_s: Any) -> None:
    if isinstance(keys, str):  # each of its letters would be one
        raise TypeError(f"keys is a set of keys, not the text {keys!r}")
    if other := [key for key in keys or () if not isinstance(key, str)]:
        raise TypeError(f"keys are texts, not {other[0]!r}")
    if not isinstance(subject, str):
        raise TypeError(f"subject is a text, not {subject!r}")
    if expires_s is not None and (not isinstance(expires_s, int | float) or isnan(expires_s)):
        raise TypeError(f"expires_s is a number of seconds, not {expires_s!r}")


@dataclass(frozen=True, slots=True)
class Denied:
    """The caller may not do it.

    Attributes:
        detail: why; the caller can read it.
        status: 401 if the caller has to identify itself, else 403. Both end an `EventSource`.

    Raises:
        ValueError: the status is another one.
    """

    detail: str
    status: int = 403

    def __post_init__(self) -> None:
        """Check the status."""
        if self.status not in (401, 403):
            raise ValueError(f"a refusal has the status 401 or 403, not {self.status}")


@dataclass(frozen=True, slots=True)
class NotYet:
    """It can't be decided yet, because something is not loaded.

    Attributes:
        load: loads it. It is awaited once, and then the same question is asked again. If it can't
            be loaded, or the answer is `NotYet` again, the caller is asked to come back later.
    """

    load: Callable[[], Awaitable[object]]


Decision: TypeAlias = Grant | Denied | NotYet


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
            keys: the only keys whose events it wants; none means all that the grant covers.

        Returns:
            The decision. An exception, or anything else, is answered with 500. So a mistake of the
            policy lets no caller in.
        """


class Verifier(Protocol):
    """Reads the token of a request. It decides nothing about channels: that is the policy's."""

    def __call__(self, caller: Caller, /) -> Mapping[str, Any] | Denied | NotYet:
        """Return the claims of the caller's token; empty if there is no token.

        Args:
            caller: without claims yet.

        Returns:
            The claims; `Denied` if the token is not valid; `NotYet` if its key is not loaded.
        """


def public(_: Caller, __: Action, ___: str, ____: frozenset[str], /) -> Grant:
    """Grant everything to every caller: the policy of a hub that is given no other."""
    return Grant()
