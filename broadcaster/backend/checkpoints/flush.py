"""Writes a stream's checkpoint, by one script that can't write a wrong one. Part of `backend`.

The script compares the mark with the one that the folder's memory began at. It also looks for the
entry that the memory was folded up to. Otherwise it writes nothing: another folder has written, or
this server has lost what the memory has. A lock keeps two folders from doing the same work, but no
promise depends on it.

A large flush has several pieces, so that Redis is not blocked. The last one writes the mark. After
a kill between two pieces, some values are newer than the mark, which readers expect.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import translating
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.shards import in_slot_of

PIECE_KEYS = 500
"""The most keys of a piece. Redis takes half a millisecond for so many."""
PIECE_BYTES = 256 * 1024
"""The bytes of a piece are below this, unless a single key has more."""

# KEYS: the hash. ARGV: the stream, the mark that is expected or nothing, the next mark or nothing,
# the entry that must exist or nothing, "1" to begin anew, the number of pairs, the pairs, and the
# fields that go. If the entry was trimmed already, its id proves the same while it is the newest.
# The stream is no key of the script, although it is in the same slot: Redis runs a script only for
# users that may write to all of its keys, and a folder may only read the stream.
_SCRIPT = """
local hash, stream, expected, at, proof, anew, pairs = KEYS[1], unpack(ARGV, 1, 6)
if (redis.call("HGET", hash, "at") or "") ~= expected then return "overtaken" end
if proof ~= "" and #redis.call("XRANGE", stream, proof, proof) == 0 then
  local last, info = "", redis.pcall("XINFO", "STREAM", stream)
  for i = 1, #info, 2 do
    if info[i] == "last-generated-id" then last = info[i + 1] end
  end
  if last ~= proof then return "unproven" end
end
if anew == "1" then redis.call("UNLINK", hash) end
local gone = 7 + 2 * pairs
if gone > 7 then redis.call("HSET", hash, unpack(ARGV, 7, gone - 1)) end
if #ARGV >= gone then redis.call("HDEL", hash, unpack(ARGV, gone)) end
if at ~= "" then redis.call("HSET", hash, "at", at) end
return "written"
"""
# KEYS: the lock. ARGV: its holder, and its life in milliseconds; without a life it is given back.
_LOCK = """
local holder = redis.call("GET", KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] then redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
else redis.call("DEL", KEYS[1]) end
return 1
"""


class Flushed(Enum):
    """The result of writing a piece."""

    WRITTEN = "written"
    OVERTAKEN = "overtaken"
    """The mark is another one: another folder has written, or Redis has lost what we wrote."""
    UNPROVEN = "unproven"
    """Redis does not have the entry: it was trimmed, or this server never had it."""


class Flush:
    """Writes the checkpoint of one stream, and holds the lock of its folder."""

    def __init__(self, client: AsyncClient, stream: str) -> None:
        """Name the stream. Nothing is sent yet.

        Args:
            client: has no retries. The caller closes it.
            stream: the Redis key of the stream.
        """
        self._client: Any = client
        self._stream, self._hash = stream, in_slot_of(stream, "state")
        self._lock = in_slot_of(stream, "folder")

    async def write(
        self,
        expected: bytes,
        *,
        proof: EventId,
        at: bytes = b"",
        values: Mapping[bytes, bytes] | None = None,
        gone: Collection[bytes] = (),
        anew: bool = False,
    ) -> Flushed:
        """Write one piece, if the mark is the expected one and an entry exists.

        Args:
            expected: the mark in Redis; empty if there is none.
            proof: the newest entry that the values are folded of; `ZERO` if there is none.
            at: the next mark. Empty keeps the one that is there.
            values: the fields to write.
            gone: the fields to remove.
            anew: remove the whole checkpoint first.

        Returns:
            The result. The piece may be sent again if this raises.

        Raises:
            BackendUnavailableError: Redis is away. It may have written the piece.
            ConfigurationError: a key has a value of another type, or a right is missing.
        """
        pairs = [word for pair in (values or {}).items() for word in pair]
        entry = "" if proof == ZERO else str(proof)
        words = (self._stream, expected, at, entry, int(anew), len(pairs) // 2, *pairs, *gone)
        with translating(f"write the checkpoint {self._hash!r}"):
            said = await self._client.eval(_SCRIPT, 1, self._hash, *words)
        return Flushed(said.decode())

    async def remove(self) -> None:
        """Remove the checkpoint; errors as `write`."""
        with translating(f"remove the checkpoint {self._hash!r}"):
            await self._client.unlink(self._hash)

    async def hold(self, holder: str, ttl_s: float) -> bool:
        """Take the lock, or keep it. Return False if another folder has it; errors as `write`."""
        return await self._locked(holder, round(ttl_s * 1000))

    async def release(self, holder: str) -> None:
        """Give the lock back, if it is ours; errors as `write`."""
        await self._locked(holder)

    async def _locked(self, *words: Any) -> bool:
        with translating(f"hold the lock {self._lock!r}"):
            return bool(await self._client.eval(_LOCK, 1, self._lock, *words))


def pieces(fields: Iterator[tuple[bytes, bytes]]) -> Iterator[dict[bytes, bytes]]:
    """Yield fields in pieces of a bounded size. Each field is made when its piece needs it."""
    piece: dict[bytes, bytes] = {}
    size = 0
    for field, packed in fields:
        more = len(field) + len(packed)
        if piece and (len(piece) == PIECE_KEYS or size + more > PIECE_BYTES):
            yield piece
            piece, size = {}, 0
        piece[field] = packed
        size += more
    if piece:
        yield piece
