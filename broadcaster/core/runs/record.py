"""The record of a run: its state, and the Redis keys that belong to it. Pure.

The record is a hash beside the stream. It says what became of a run, and who may write to it. All
keys of a run lie in the slot of its stream, so that one script can write state and events together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b, sha1
from typing import NamedTuple

from broadcaster.core.access.stream_counts import hashed
from broadcaster.core.event import EventId
from broadcaster.core.shards import in_slot_of

MAX_DELIVERIES = 5
"""The most times that a request is given to a worker. At the next one, its run fails."""
_HALF = 8  # bytes; a run's id is two numbers of 64 bits


class RunState(StrEnum):
    """The state of a run."""

    WAITING = "waiting"
    """No worker has it."""
    RUNNING = "running"
    """A worker has it, or had it until it went silent."""
    COMPLETE = "complete"
    """Its worker has published everything."""
    FAILED = "failed"
    """It can't be finished; the reason says why."""
    STOPPED = "stopped"
    """A client has stopped it."""
    EXPIRED = "expired"
    """No worker took it in time."""

    @property
    def over(self) -> bool:
        """Return True if nothing follows any more."""
        return self not in (RunState.WAITING, RunState.RUNNING)


class RunKeys(NamedTuple):
    """The Redis keys that scripts about a run use, in their order.

    Attributes:
        stream: has the events.
        record: a hash.
        leases: a sorted set of all runs that are not over, by the time at which each is due.
        pieces: a list of what the run has published, while it is not over.
        dead: a stream of the requests that no worker could finish.
    """

    stream: str
    record: str
    leases: str
    pieces: str
    dead: str

    @classmethod
    def of(cls, stream: str, run: EventId | str) -> RunKeys:
        """Return the keys of a run.

        Args:
            stream: the Redis key of the stream that has the run's events.
            run: its id.
        """
        return cls(
            stream,
            in_slot_of(stream, f"run:{run}"),
            leases_of(stream),
            in_slot_of(stream, f"run:{run}:pieces"),
            in_slot_of(stream, "runs:dead"),
        )


def leases_of(stream: str) -> str:
    """Return the Redis key of the set of all runs of a stream that are not over."""
    return in_slot_of(stream, "runs")


def owned_of(stream: str, owner: str) -> str:
    """Return the Redis key of the set of all runs of one owner that are not over.

    The owner is known by a hash of 64 bits, so that no key shows the name of a user.
    """
    return in_slot_of(stream, f"runs:of:{hashed(owner):x}")


def newest_of(stream: str, key: str) -> str:
    """Return the Redis key of a hash that names the newest run about a key.

    The scripts that begin a run make the same name: SHA-1 is the hash that Lua has in Redis. A user
    can make two keys with the same hash, but no key with the hash of another user's.
    """
    digest = sha1(key.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()
    return in_slot_of(stream, f"runs:about:{digest}")


def new_run(drawn: bytes) -> EventId:
    """Return the id of a new run.

    It is written as two numbers, as ids of entries are, because nodes of earlier versions read a
    cursor with it.

    Args:
        drawn: 16 random bytes, so that an id can't be guessed.
    """
    return EventId(int.from_bytes(drawn[:_HALF], "big"), int.from_bytes(drawn[_HALF:], "big"))


def run_named(key: str, name: str) -> EventId:
    """Return the id of the run to which a client gives a name: the same for the same two texts.

    Args:
        key: what the run is about.
        name: as hard to guess as the id shall be, such as a random UUID.
    """
    text = f"{len(key)} {key}{name}".encode(errors="surrogatepass")
    return new_run(blake2b(text, digest_size=2 * _HALF).digest())


class Record(NamedTuple):
    """The record of a run in Redis.

    Attributes:
        state: of the run.
        reason: the reason of the state, if it is over and did not complete.
        key: the thing that it is about.
        event_key: the key of its events.
        owner: the subject that began it; empty if that is not known.
        attempt: how many workers have begun it, one after the other.
        first: the id of its first event; None if it has none yet.
        last: the id of the event that ended it; None while it is not over.
        began_ms: milliseconds since 1970 at which its first worker began it; 0 if none has.
        restarts: the number of times that it has begun anew after a piece.
        told: the number of pieces that it had published before it last began anew.
    """

    state: RunState
    reason: str
    key: str
    event_key: str
    owner: str
    attempt: int
    first: EventId | None
    last: EventId | None
    began_ms: int = 0
    restarts: int = 0
    told: int = 0

    @classmethod
    def of(cls, fields: Mapping[bytes, bytes]) -> Record | None:
        """Read the hash of a run; None if there is none."""
        if b"state" not in fields:
            return None
        text = {name.decode(): value.decode() for name, value in fields.items() if name != b"body"}
        return cls(
            RunState(text["state"]),
            text.get("reason", ""),
            text.get("key", ""),
            text.get("event_key", ""),
            text.get("owner", ""),
            int(text.get("attempt", 0)),
            _id(text, "first"),
            _id(text, "last"),
            int(text.get("began", 0)),
            int(text.get("restarts", 0)),
            int(text.get("told", 0)),
        )


def _id(text: Mapping[str, str], name: str) -> EventId | None:
    return EventId.parse(text[name]) if name in text else None
