"""Asks for tickets, where the verifier issues them, too."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, Protocol, runtime_checkable

from broadcaster.core.access.policy import Caller, Denied, NotYet
from broadcaster.core.access.ticket import Ticket
from broadcaster.web.access.asking import settled
from broadcaster.web.access.callers import caller_of


@runtime_checkable
class TicketIssuer(Protocol):
    """A verifier that issues tickets, too."""

    def issue(
        self, caller: Caller, channels: Collection[str], keys: Collection[str]
    ) -> Ticket | Denied | NotYet:
        """Return a ticket for the token in a caller's header `Authorization`.

        Args:
            caller: that asks.
            channels: the only channels that it is for; none means all that the token allows.
            keys: the only keys of these; none means all that the token allows.
        """


async def ticket(
    issuer: TicketIssuer, scope: Any, channels: Collection[str], keys: Collection[str]
) -> Ticket | Denied:
    """Return a ticket for the sender of a request; see `TicketIssuer`.

    Raises:
        PolicyFailedError: the issuer has failed.
        UndecidedError: it can't issue tickets for now.
    """
    ask = partial(issuer.issue, caller_of(scope), channels, keys)
    said = await settled(ask, (Ticket, Denied), "no ticket was made")
    assert isinstance(said, Ticket | Denied)
    return said
