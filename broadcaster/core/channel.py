"""Channels: clients subscribe to them, and streams feed them. They are configuration. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from broadcaster.core.cursor import Start, parse_duration, parse_start
from broadcaster.core.run import ENDS, RUN
from broadcaster.core.shards import shard_name, shard_of, without_shard
from broadcaster.core.state.values import Rules
from broadcaster.errors import ConfigurationError, InvalidCursorError

MAXLEN = 100_000
"""About how many entries a stream retains. Redis trims whole nodes of entries (`MAXLEN ~`)."""
WINDOW_EVENTS = 100_000
"""The most events of a stream that a node keeps in memory."""
WINDOW_BYTES = 64 * 1024 * 1024
"""The most bytes of a stream's frames that a node keeps in memory."""
STATE_BYTES = 64 * 1024 * 1024
"""The most bytes of the state of a stream."""
MAX_KEY_BYTES = 256
"""The most bytes of a key, in UTF-8, that a client may name. Redis holds the keys of requests."""
_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
KEY_IN_PATH = "{key}"
MAX_SHARDS = 1000
"""An id names each shard with about 26 bytes, and a request's head has a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel, fed by one Redis stream, or by several shards of one.

    Attributes:
        name: used in cursors, in `/v1/events?channel=` and in metrics. Letters, digits, `_`, `.`
            and `-`. It must not end like a shard's name.
        path: where clients open it; `{key}` in it makes the key part of the path.
        stream: the Redis key of its stream; the channel's name if empty.
        shards: the number of streams that feed it. If it is above 1, they are `orders.0`,
            `orders.1`, …, and all events of a key are in the same one.
        start: where a client without a cursor begins: `earliest`, `latest`, `state`, or a
            duration back.
        key_param: the query parameter that narrows it to keys; repeatable.
        access: `public` if every client may read it, `token` if only a token lets it. If it is not
            set, it is `token` if the hub has keys that verify tokens, else `public`.
        listed: False keeps it out of `/v1/events` and `/v1/channels`.
        key_required: refuse clients that name no key, unless their grant has one. If it is not set,
            a channel with `{key}` in its path requires one.
        key_claim: a claim of tokens, such as `sub`: its value is a key that its bearer may read.
        terminal: event types that end the response of a client that follows one key. A channel
            with `requests` has `failed` and `stopped` as well.
        requests: the Redis key of a stream of requests. If it is set, opening the channel without a
            cursor adds the key to that stream. The id of the new entry names the run, and the
            client gets only the events of `<key>#<run>`.
        schemas: a file with a JSON Schema for each event type; `*` is for all other types.
            Publishers and the hub refuse data that does not fit.
        state: how events add up to a state. `last` keeps the newest event per key and type,
            `merge` patches JSON objects per key and type, and `append` keeps all events of a key
            and joins the texts of one field. Empty means that the channel has no state.
        removes: event types that take their key out of the state.
        append: the field whose texts are joined, if the state is `append`.
        coalesce: send a client that lags far behind the newest event per key and type, without
            those that it supersedes. It needs the state `last`.
        state_bytes: the most bytes of a stream's state. Clients get no state beyond that.
        state_ttl: a duration. For so long the state keeps keys after a terminal event, and knows
            which keys were removed.
        maxlen: about how many entries publishers retain in the stream.
        window_events: the most events that a node keeps in memory.
        window_bytes: the most bytes of frames that a node keeps in memory.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  # a misspelt setting is an error

    name: str
    path: str
    stream: str = ""
    shards: int = 1
    start: str = "latest"
    key_param: str = "key"
    access: Literal["", "public", "token"] = ""
    listed: bool = True
    key_required: bool | None = None
    key_claim: str = ""
    terminal: frozenset[str] = frozenset()
    requests: str = ""
    schemas: Mapping[str, str] = field(default_factory=dict, hash=False)
    state: Literal["", "last", "merge", "append"] = ""
    removes: frozenset[str] = frozenset()
    append: str = ""
    coalesce: bool = False
    state_bytes: int = STATE_BYTES
    state_ttl: str = "1d"
    maxlen: int = MAXLEN
    window_events: int = WINDOW_EVENTS
    window_bytes: int = WINDOW_BYTES

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: a value can't work. The text names the channel and the value, and
                says what is expected.
        """
        object.__setattr__(self, "terminal", self.terminal | (ENDS if self.requests else set()))
        if not _NAME.fullmatch(self.name) or self.name == RUN:
            raise self._error(f"the name must be letters, digits, '_', '.', '-', and not {RUN!r}")
        if without_shard(self.name)[0] != self.name:
            raise self._error("a name that ends with '.' and digits is that of a shard")
        if self.shards > MAX_SHARDS:
            raise self._error(f"a channel has at most {MAX_SHARDS} shards")
        if self.shards > 1 and self.requests:
            raise self._error("a channel with requests can't have shards")
        if not self.path.startswith("/") or self.path.count(KEY_IN_PATH) > 1:
            raise self._error(f"path {self.path!r} must begin with '/', with at most one {{key}}")
        if re.search(r"[{}]", self.path.replace(KEY_IN_PATH, "")):
            raise self._error(f"path {self.path!r} may have no other parameter than {{key}}")
        if self.access not in ("", "public", "token"):
            raise self._error(f"access {self.access!r} must be 'public' or 'token'")
        self._check_start()
        self._check_state()
        for bound in ("shards", "state_bytes", "maxlen", "window_events", "window_bytes"):
            if getattr(self, bound) < 1:
                raise self._error(f"{bound} must be at least 1")

    def _check_start(self) -> None:
        try:
            parse_start(self.start, now_ms=0)
        except InvalidCursorError as error:
            raise self._error(f"start: {error}") from error

    def _check_state(self) -> None:
        if self.state not in ("", "last", "merge", "append"):
            raise self._error(f"state {self.state!r} must be 'last', 'merge' or 'append'")
        if self.start == "state" and not self.state:
            raise self._error("start 'state' needs a state: 'last', 'merge' or 'append'")
        if self.removes and not self.state:
            raise self._error("removes needs a state: 'last', 'merge' or 'append'")
        if self.append and self.state != "append":
            raise self._error("append names a field, which needs state = 'append'")
        if self.state == "append" and not self.append:
            raise self._error("state 'append' needs the field whose texts are joined: append = …")
        if self.coalesce and self.state != "last":
            raise self._error("coalesce sends the newest event of each type: it needs state 'last'")
        if both := self.removes & self.terminal:
            raise self._error(f"removes and terminal both have {min(both)!r}: one of them can")
        try:
            if parse_duration(self.state_ttl) < 1:
                raise self._error("state_ttl must be at least 1ms")
        except InvalidCursorError as error:
            raise self._error(f"state_ttl: {error}") from error

    def _error(self, text: str) -> ConfigurationError:
        return ConfigurationError(f"channel {self.name!r}: {text}")

    @property
    def streams(self) -> dict[str, str]:
        """Map the name of each of its streams, as cursors and metrics use it, to its Redis key."""
        key = self.stream or self.name
        if self.shards == 1:
            return {self.name: key}
        return {shard_name(self.name, n): shard_name(key, n) for n in range(self.shards)}

    def streams_of(self, keys: Iterable[str]) -> set[str]:
        """Return the names of the streams that hold events with one of these keys.

        Without keys these are all streams of the channel.
        """
        names = list(self.streams)
        return {names[shard_of(key, self.shards)] for key in keys} or set(names)

    @property
    def needs_key(self) -> bool:
        """Return True if a subscription must name a key."""
        by_path = KEY_IN_PATH in self.path
        required = by_path if self.key_required is None else self.key_required
        return required or bool(self.requests)

    @property
    def state_rules(self) -> Rules | None:
        """Return how the events of each of its streams are folded; None if it has no state."""
        if not self.state:
            return None
        return Rules(
            self.state,
            self.removes,
            self.append,
            self.terminal,
            parse_duration(self.state_ttl),
            self.state_bytes,
            self.coalesce,
        )

    def start_at(self, now_ms: int) -> Start:
        """Return where a client without a cursor begins at this time.

        Args:
            now_ms: milliseconds since 1970.
        """
        return parse_start(self.start, now_ms)
