"""Adds requests for channels made on demand, and strikes them out. Part of `backend`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import TROUBLE, translated, translating
from broadcaster.backend.sharing import Sending, SharedReads
from broadcaster.core.event import EventId
from broadcaster.core.log import Known
from broadcaster.core.run import Standing
from broadcaster.core.runs.record import RunKeys

TTL = b"ttl_ms"
"""The field of a request that says for how many milliseconds workers may begin its run."""
RUN_FIELD = b"run"
"""The field of a request that names its run. Without it, the id of the entry does."""

_CONCURRENT = 4  # a bound, because each has a connection, and thousands of clients may ask at once

# It is one step, so no worker can take a request that is just being struck out. A group has taken
# all entries up to its `last-delivered-id`. Ids are compared as numbers. Lua's have 53 bits of
# precision, and milliseconds need 41.
_REVIEW = """
local function numbers(id)
  local ms, seq = string.match(id, "(%d+)-(%d+)")
  return tonumber(ms), tonumber(seq)
end
local last_ms, last_seq = -1, 0
local groups = redis.pcall("XINFO", "GROUPS", KEYS[1])
if groups.err then
  if not string.find(groups.err, "no such key") then return groups end
  groups = {}
end
for _, group in ipairs(groups) do
  for i = 1, #group, 2 do
    if group[i] == "last-delivered-id" then
      local ms, seq = numbers(group[i + 1])
      if ms > last_ms or (ms == last_ms and seq > last_seq) then last_ms, last_seq = ms, seq end
    end
  end
end
local found = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local ms, seq = numbers(id)
  if #redis.call("XRANGE", KEYS[1], id, id) == 0 then found[#found + 1] = "absent"
  elseif ms < last_ms or (ms == last_ms and seq <= last_seq) then found[#found + 1] = "taken"
  elseif ARGV[1] == "0" then found[#found + 1] = "waiting"
  else
    redis.call("XDEL", KEYS[1], id)
    found[#found + 1] = "struck"
  end
end
return found
"""


class Requester:
    """Adds requests, which the workers of a consumer group answer with a run."""

    def __init__(
        self, client: AsyncClient, keys: Mapping[str, str], *, limit: int, ttl_s: float
    ) -> None:
        """Add requests by a client. Nothing is sent yet.

        Args:
            client: has no retries, since a command that is sent twice would be two requests.
            keys: the Redis key of each stream, by its name.
            limit: the most requests in a stream.
            ttl_s: seconds in which a worker may begin the run of a request.
        """
        self._client: Any = client
        self._keys = keys
        self._limit = limit
        self._ttl_ms = round(ttl_s * 1_000)
        self._places = asyncio.Semaphore(_CONCURRENT)
        self._open = SharedReads()  # a request that was sent is not cut, or it costs a connection

    async def is_full(self, requests: str) -> bool:
        """Return True if a stream has all the requests that it may have.

        Raises:
            BackendUnavailableError: Redis is away.
            ConfigurationError: Redis refuses for good (a key that is no stream).
        """
        with translating(f"count the requests in {requests}"):
            return bool(await self._client.xlen(requests) >= self._limit)

    async def request(self, requests: str, key: str, run: EventId | None = None) -> EventId | None:
        """Add a request and return its id, which names the run, if the run has no id of its own.

        If it is cancelled, the request is added all the same, unless it still waits for its turn.
        At most `_CONCURRENT` requests of a node can exceed the limit: those that are on their way.

        Returns:
            The id; None if the stream has all the requests it may have.

        Raises:
            BackendUnavailableError: Redis is away. The request may have been added all the same.
                In that case no client follows its run.
            ConfigurationError: Redis refuses for good (a key that is no stream).
        """

        async def add(sending: Sending) -> EventId | None:
            async with self._places:
                sending()
                if await self._client.xlen(requests) >= self._limit:
                    return None
                fields: dict[Any, Any] = {b"key": key, TTL: self._ttl_ms}
                if run is not None:
                    fields[RUN_FIELD] = str(run)
                return EventId.of_entry(await self._client.xadd(requests, fields))

        try:
            return await self._open.of(object(), add)  # shared with no other caller
        except TROUBLE as error:
            raise translated(error, f"add a request to {requests}") from error

    async def known(self, run: Known) -> bool:
        """Return True if the request of a run is there, or a worker has begun the run.

        Raises:
            BackendUnavailableError: Redis is away.
            ConfigurationError: Redis refuses for good.
        """
        id_ = str(run.run)
        try:
            async with self._places:
                # In this order: a worker begins a run before it removes the request.
                for _, fields in await self._client.xrange(run.requests, id_, id_):
                    return bool(fields.get(b"key") == run.key.encode())
                record = RunKeys.of(self._keys[run.stream], id_).record
                return bool(await self._client.exists(record))
        except TROUBLE as error:
            raise translated(error, f"look for a request in {run.requests}") from error

    async def review(
        self, requests: str, runs: Sequence[EventId], *, strike: bool
    ) -> list[Standing]:
        """Return the state of some requests.

        Args:
            requests: the Redis key of the stream of requests.
            runs: the ids of the requests.
            strike: strike out those that no worker has taken.

        Raises:
            BackendUnavailableError: Redis is away. They may have been struck out all the same.
            ConfigurationError: Redis refuses for good.
        """
        ids = [str(run) for run in runs]
        try:
            found = await self._client.eval(_REVIEW, 1, requests, int(strike), *ids)
        except TROUBLE as error:
            raise translated(error, f"look through the requests in {requests}") from error
        return [Standing(standing.decode()) for standing in found]
