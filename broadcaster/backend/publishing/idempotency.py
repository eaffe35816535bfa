"""Idempotency keys: events are stored once, however often they are sent. Part of `backend`.

A key leaves a marker in the slot of the stream, with the ids of its events and a hash of them. One
script per stream looks for the marker and adds the events. A `MULTI` could not do it: a `SET NX`
that fails does not stop an `XADD`, and the ids are not known before. A marker is written without
ids first, so that a script that may not `SET` adds nothing. A marker without ids counts as none.
"""

from __future__ import annotations

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias
from zlib import crc32

from redis.asyncio.cluster import RedisCluster

from broadcaster.backend.driver.connect import AsyncClient, SyncClient
from broadcaster.backend.driver.errors import TROUBLE, NotSentError, translated
from broadcaster.backend.driver.exchange import Command, exchange, exchange_sync
from broadcaster.backend.publishing.outgoing import Commands, NewEntry, event_id
from broadcaster.core.event import EventId
from broadcaster.core.json.incoming import Publication
from broadcaster.core.shards import in_slot_of
from broadcaster.errors import BroadcasterError, PartialPublishError

_Step: TypeAlias = tuple[Command, Callable[[Any, Any], object], Any]
"""A command, the function that takes its reply, and the arguments of that before the reply."""

_FAILURES: tuple[type[Exception], ...] = (NotSentError, *TROUBLE)
_HASH_BYTES = 16
# KEYS: the stream, the marker. ARGV: the hash, the life of the marker in ms, the bound of the
# stream or nothing, and the events.
_SCRIPT = """
local known = redis.call("GET", KEYS[2])
if known and #known > #ARGV[1] then return known end
redis.call("SET", KEYS[2], ARGV[1], "PX", ARGV[2])
local ids = {}
for i = 4, #ARGV do
  if ARGV[3] == "" then ids[i - 3] = redis.call("XADD", KEYS[1], "*", "m", ARGV[i])
  else ids[i - 3] = redis.call("XADD", KEYS[1], "MAXLEN", "~", ARGV[3], "*", "m", ARGV[i]) end
end
local value = ARGV[1] .. " " .. table.concat(ids, " ")
redis.call("SET", KEYS[2], value, "PX", ARGV[2])
return value
"""


class Submission:
    """One publication on its way.

    Attributes:
        ids: of its events, in order. None is an event that is not certainly stored.
        refused: True if its key was used for other events.
    """

    def __init__(
        self, commands: Commands, publication: Publication, subject: str, idempotency_s: float
    ) -> None:
        """Make the commands.

        Args:
            commands: has the channels.
            publication: that is sent.
            subject: the sender, whose keys are its own.
            idempotency_s: seconds for which a key is remembered.

        Raises:
            UnknownChannelError, InvalidEventError: as for `Publisher.publish`.
        """
        channel, events, key = publication
        self.entries = [commands.entry((channel, *event)) for event in events]
        self.ids: list[EventId | None] = [None] * len(self.entries)
        self.refused = False
        self._hash = _hash_of(b"".join(entry.packed for entry in self.entries)) if key else ""
        self._ttl_ms = round(idempotency_s * 1_000)
        self._marker, self._home = "", ""
        if key:
            # An issuer or a producer may name half of a surrogate pair, as JSON can.
            named = "\0".join((subject, channel, key)).encode(errors="surrogatepass")
            self._marker = "once:" + _hash_of(named)
            streams = list(commands.channels.channel(channel).streams.values())
            self._home = streams[crc32(named) % len(streams)] if len(streams) > 1 else ""

    def claim(self) -> Iterator[_Step]:
        """Yield the command that goes before all others, if there is one.

        It is for a channel with shards: a key that was used for other events is found, also if
        these are in another shard.
        """
        if self._home:
            yield self._script(self._home, self._marker + ":all", ()), self._take_known, ()

    def writes(self) -> Iterator[_Step]:
        """Yield the commands that add the events, unless the key was used for others."""
        if self.refused:
            return
        if not self._marker:
            for place, entry in enumerate(self.entries):
                yield entry.xadd(), self._take, place
            return
        by_stream = defaultdict[str, list[int]](list)
        for place, entry in enumerate(self.entries):
            by_stream[entry.redis_key].append(place)
        for stream, places in by_stream.items():
            entries = [self.entries[place] for place in places]
            yield self._script(stream, self._marker, entries), self._take_known, places

    def _script(self, stream: str, marker: str, entries: Sequence[NewEntry]) -> Command:
        maxlen = entries[0].maxlen if entries else None
        bound = "" if maxlen is None else maxlen
        keys, packed = (stream, in_slot_of(stream, marker)), (entry.packed for entry in entries)
        return ("EVAL", _SCRIPT, 2, *keys, self._hash, self._ttl_ms, bound, *packed)

    def _known(self, reply: bytes | str) -> list[bytes]:
        """Return the ids in a marker. They are of this publication, or it is refused."""
        # A client of the caller's own may decode its replies to str.
        reply = reply if isinstance(reply, bytes) else reply.encode()
        hashed, _, ids = reply.partition(b" ")
        self.refused |= hashed != self._hash.encode()
        return ids.split()

    def _take_known(self, places: Sequence[int], reply: bytes) -> None:
        found = self._known(reply)
        if not self.refused:
            for place, one in zip(places, found, strict=True):
                self._take(place, one)

    def _take(self, place: int, reply: bytes) -> None:
        self.ids[place] = event_id(reply)


class Sender:
    """Writes publications of asynchronous code."""

    def __init__(
        self,
        client: AsyncClient,
        commands: Commands,
        places: Semaphore,
        idempotency_s: float,
        *,
        foreign: bool = False,
    ) -> None:
        """Store the arguments.

        Args:
            client: has no retries.
            commands: has the channels.
            places: bounds the writes at a time, since each has a connection.
            idempotency_s: seconds for which keys are remembered.
            foreign: `connect` has not made the client.
        """
        self._client = client
        # On a Cluster a pipeline is slower than a command.
        self._one_by_one = foreign or isinstance(client, RedisCluster)
        self._commands = commands
        self._places = places
        self._idempotency_s = idempotency_s

    async def send(
        self, publications: Sequence[Publication], subject: str = ""
    ) -> Sequence[Submission]:
        """Write publications, in order. All of them are checked before anything is written.

        Args:
            publications: what is sent.
            subject: the sender.

        Returns:
            Each of them as it was sent, with its ids.

        Raises:
            UnknownChannelError, InvalidEventError: nothing was sent.
            BackendUnavailableError: Redis is away. What has a key is safe to be sent again.
            ConfigurationError: Redis refuses for good.
            PartialPublishError: one of both, after some events were stored. Its `ids` say which.
        """
        submissions = [
            Submission(self._commands, one, subject, self._idempotency_s) for one in publications
        ]
        try:
            for steps in _rounds(submissions):
                failure: Exception | None = None
                replies = list[Any]()
                try:
                    async with self._places:
                        await self._exchange([command for command, *_ in steps], replies)
                except _FAILURES as error:
                    failure = error
                _note(steps, replies, failure)
        except BroadcasterError as error:
            ids = [id_ for submission in submissions for id_ in submission.ids]
            if any(ids):
                raise PartialPublishError(ids, error) from error
            raise
        return submissions

    async def _exchange(self, commands: list[Command], replies: list[Any]) -> None:
        if self._one_by_one and len(commands) == 1:
            replies.append(await self._client.execute_command(*commands[0]))
        else:
            await exchange(self._client, commands, replies)


def send_sync(client: SyncClient, submissions: Sequence[Submission]) -> None:
    """As `Sender.send`, blocking, for submissions of the caller's own."""
    for steps in _rounds(submissions):
        failure: Exception | None = None
        replies = list[Any]()
        try:
            if len(steps) == 1:
                any_client: Any = client
                replies.append(any_client.execute_command(*steps[0][0]))
            else:
                exchange_sync(client, [command for command, *_ in steps], replies)
        except _FAILURES as error:
            failure = error
        _note(steps, replies, failure)


def _rounds(submissions: Sequence[Submission]) -> Iterator[list[_Step]]:
    if claims := [step for submission in submissions for step in submission.claim()]:
        yield claims
    if writes := [step for submission in submissions for step in submission.writes()]:
        yield writes


def _note(steps: Sequence[_Step], replies: Sequence[Any], failure: Exception | None) -> None:
    for (_, take, about), reply in zip(steps, replies, strict=False):  # fewer after a failure
        if not isinstance(reply, Exception):
            take(about, reply)
        elif failure is None:
            failure = reply
    if failure is not None:
        cause = failure.__cause__ if isinstance(failure, NotSentError) else failure
        raise translated(cause, "publish") from failure


def _hash_of(data: bytes) -> str:
    return blake2b(data, digest_size=_HASH_BYTES).hexdigest()
