"""Counts the event streams of each owner, which is an address or a subject. Pure.

A node counts its own streams, and learns the counts of the other nodes from their lines in the
registry. So a decision compares numbers in memory. The limit over several nodes can be exceeded by
what they admitted since their last lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from heapq import nlargest
from typing import NamedTuple

TOLD = 4096
"""The most owners that a node tells the others about: those with the most streams."""

_HASH_BYTES = 8
_HEX = frozenset("0123456789abcdef")


class Owners(NamedTuple):
    """The owners of one event stream.

    Attributes:
        address: that its request came from, or the network of it; empty if it is not known.
        subject: of the client's grants; empty if they name none.
    """

    address: str = ""
    subject: str = ""


UNKNOWN = Owners()
"""The owners of a stream that counts for none."""


class StreamCounts:
    """The streams of all owners of one kind.

    An owner is known by a hash of 64 bits. It takes less memory than a name, and nothing that is
    told to other nodes shows an address or a user.
    """

    def __init__(self, most: int) -> None:
        """Begin without streams.

        Args:
            most: streams that one owner may have; 0 counts nothing, and is no limit.
        """
        self.most = most
        self._here: dict[int, int] = {}
        self._elsewhere: Mapping[int, int] = {}

    def full(self, owner: str) -> bool:
        """Return True if an owner may have no further stream. Without a name there is no limit."""
        if not self.most or not owner:
            return False
        known = hashed(owner)
        return self._here.get(known, 0) + self._elsewhere.get(known, 0) >= self.most

    def take(self, owner: str) -> None:
        """Count a stream. `free` must follow."""
        if self.most and owner:
            known = hashed(owner)
            self._here[known] = self._here.get(known, 0) + 1

    def free(self, owner: str) -> None:
        """Count a stream no more."""
        if self.most and owner:
            known = hashed(owner)
            left = self._here[known] - 1
            if left:
                self._here[known] = left
            else:
                del self._here[known]

    @property
    def taken(self) -> int:
        """Return how many streams are counted."""
        return sum(self._here.values())

    def for_others(self) -> dict[str, int]:
        """Return the counts for the other nodes, as JSON can hold them."""
        most = nlargest(TOLD, self._here.items(), key=lambda pair: pair[1])
        return {f"{owner:x}": count for owner, count in most}

    def learn(self, lines: Iterable[object]) -> None:
        """Replace what is known about the other nodes.

        Args:
            lines: what each of them has published. Anything that is no such count is ignored,
                because a newer node may say something else.
        """
        elsewhere: Counter[int] = Counter()
        for counts in lines:
            for owner, count in counts.items() if isinstance(counts, dict) else ():
                if isinstance(count, int) and _is_hash(owner):
                    elsewhere[int(owner, 16)] += count
        self._elsewhere = elsewhere


def hashed(owner: str) -> int:
    """Return the hash of an owner's name."""
    digest = blake2b(owner.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest, "big")


def _is_hash(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 2 * _HASH_BYTES and _HEX.issuperset(text)
