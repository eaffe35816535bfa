"""Decides which client's turn it is to read the past. Pure.

Reading the past costs a node and Redis more than anything else that a client can ask for, so few
reads run at a time and the others wait. Two rules make sure that a client with much to read does
not hold up a client with little:

* Addresses take turns. However many connections an address has, it has one turn of a round.
  Here the address of a client is that of its `network`.
* Among the clients of one address, the one whose pages have cost least so far is next. Of several
  such, it is the newest, since a client that has just come may be a person in front of a page.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Generic, TypeVar

_REST = 5.0
"""A page that costs 1 ms of a node's time, and of which a client is sent nothing, is followed by a
rest of 5 ms."""

T = TypeVar("T")


def network(client: Sequence[Any] | None) -> str:
    """Return what the clients of one household or office share: their address, without the port.

    Of an IPv6 address it is the network of 64 bits, since each of its hosts has all addresses of
    the network to choose from (RFC 4291, section 2.5.4). Any other address stays as it is.

    Args:
        client: its address and port; None if they are not known, for which this is empty.
    """
    address = str(client[0]) if client else ""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address)
    except ValueError:
        return address
    return str(found.ipv4_mapped or IPv6Network((int(found) >> 64 << 64, 64)))


@dataclass(eq=False, slots=True)
class Reader:
    """A client that reads the past.

    Attributes:
        address: readers with the same one share its turns; see `network`. It is empty for the node
            itself.
        spent_s: what its pages have cost so far, in seconds of the node's time.
        rest_s: seconds to wait before its next page. They are in proportion to the cost of the last
            page, and to the part of it that a filter left out.
    """

    address: str = ""
    spent_s: float = 0.0
    rest_s: float = 0.0

    def charge(self, cost_s: float) -> None:
        """Note what a page has cost the node, in seconds."""
        self.spent_s += cost_s
        self.rest_s = _REST * cost_s

    def sent(self, share: float) -> None:
        """Note that the reader was sent events of a page, as a share of a full page's bytes."""
        self.rest_s *= max(0.0, 1.0 - share)


class Turns(Generic[T]):
    """The reads that wait, in the order in which they will run."""

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[float, int, T]]] = {}  # the next address is the first
        self._added = 0

    def __bool__(self) -> bool:
        """Return True if a read waits."""
        return bool(self._lines)

    def add(self, reader: Reader, read: T) -> None:
        """Add a read. Several readers may wait for the same one: it is taken once for each."""
        self._added += 1
        line = self._lines.setdefault(reader.address, [])
        heappush(line, (reader.spent_s, -self._added, read))

    def take(self, busy: Collection[str] = ()) -> tuple[str, T] | None:
        """Remove and return the next read, and its address; None if there is none.

        Its address waits until all others that wait now have had a turn.

        Args:
            busy: addresses that have no turn now.
        """
        address = next((address for address in self._lines if address not in busy), None)
        if address is None:
            return None
        line = self._lines.pop(address)
        _, _, read = heappop(line)
        if line:
            self._lines[address] = line
        return address, read
