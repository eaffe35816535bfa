"""Asks Redis about itself and about our rights, for `broadcaster check`. Part of `backend`.

It tests each right with a command that changes nothing. `ACL DRYRUN` would need a right that a node
should not have.
"""

from __future__ import annotations

import time
from typing import Any

from redis.exceptions import ResponseError

from broadcaster.backend.driver.connect import connect_sync
from broadcaster.backend.driver.errors import TROUBLE, translated, translating
from broadcaster.backend.driver.urls import redacted
from broadcaster.core.event import EventId
from broadcaster.core.shards import in_slot_of
from broadcaster.core.state.checkpoint import AT, Mark, mark_of

_TIMEOUT_S = 3.0
# Redis checks rights, memory, disk and replicas first, and the id after that. It "must be greater
# than 0-0", so nothing is ever added. https://redis.io/docs/latest/commands/xadd/
_NEVER_ADDED = ("NOMKSTREAM", "0-0", "probe", "1")
_HARMLESS = ("no such key", "must be greater than 0-0")


class Probe:
    """Asks one server, or the nodes of a cluster that it leads to."""

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            ConfigurationError: the url can't be used.
            BackendUnavailableError: no server answers at the url, or the login fails.
        """
        self._url = redacted(url)
        # With the name of a node's connections: giving it needs a right.
        self._redis: Any = connect_sync(url, timeout_s=_TIMEOUT_S, client_name="broadcaster")
        try:
            self._redis.ping()
        except ResponseError as error:
            if "'ping'" not in str(error):  # it is about the connection, so all would be refused
                raise translated(error, f"reach {self._url}") from error
        except TROUBLE as error:
            raise translated(error, f"reach {self._url}") from error

    def info(self) -> dict[str, Any]:
        """Return the fields of `INFO`; an empty dict if this user may not read them."""
        try:
            found = self._redis.info()
        except ResponseError:
            return {}
        except TROUBLE as error:
            raise translated(error, f"reach {self._url}") from error
        return dict(found)

    def why_not_read(self, redis_key: str) -> str:
        """Return why a node could not follow this stream; empty if it could."""
        return (
            self._refusal("XREAD", "COUNT", 1, "STREAMS", redis_key, "0-0")
            or self._refusal("XRANGE", redis_key, "-", "+", "COUNT", 1)
            or self._refusal("XREVRANGE", redis_key, "+", "-", "COUNT", 1)
            or self._refusal("XINFO", "STREAM", redis_key)
        )

    def why_not_time(self) -> str:
        """Return why a node could not ask for Redis's time; empty if it could."""
        return self._refusal("TIME")

    def why_not_add(self, redis_key: str) -> str:
        """Return why an entry could not be added to this stream; empty if it could."""
        return self._refusal("XADD", redis_key, *_NEVER_ADDED)

    def why_not_request(self, redis_key: str) -> str:
        """Return why a node could not add requests to this stream; empty if it could."""
        return (
            self.why_not_add(redis_key)
            or self._refusal("XLEN", redis_key)
            or self._refusal("XDEL", redis_key, "0-0")
            or self._refusal("XINFO", "GROUPS", redis_key)
            or self._refusal("EVAL", "return 0", 1, redis_key)
        )

    def why_not_load(self, redis_key: str) -> str:
        """Return why a node could not load the state of this stream; empty if it could."""
        checkpoint = in_slot_of(redis_key, "state")
        return (
            self._refusal("HGET", checkpoint, AT)
            or self._refusal("HMGET", checkpoint, AT)
            or self._refusal("HSCAN", checkpoint, 0)
        )

    def mark(self, redis_key: str) -> Mark | None:
        """Return the mark of a stream's checkpoint; None if there is none."""
        with translating(f"reach {self._url}"):
            return mark_of(self._redis.hget(in_slot_of(redis_key, "state"), AT))

    def waiting_s(self, redis_key: str, position: EventId) -> float:
        """Return for how many seconds the entry after a position is there; 0 if there is none."""
        with translating(f"reach {self._url}"):
            rows = self._redis.xrange(redis_key, str(position.after()), count=1)
            return time.time() - EventId.of_entry(rows[0][0]).ms / 1000 if rows else 0.0

    def length(self, redis_key: str) -> int:
        """Return the number of entries of a stream; 0 if Redis does not say."""
        try:
            return int(self._redis.xinfo_stream(redis_key)["length"])
        except TROUBLE:
            return 0

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _refusal(self, *command: Any) -> str:
        try:
            self._redis.execute_command(*command)
        except ResponseError as error:
            said = str(error)
            return "" if any(harmless in said for harmless in _HARMLESS) else said
        except TROUBLE as error:
            raise translated(error, f"reach {self._url}") from error
        return ""
