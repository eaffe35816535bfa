"""No tenant sees an event of another one, whatever happens at two nodes, and none misses its own.

Hypothesis decides what happens: events, tokens, tickets, revocations that reach one node before the
other, times that pass, nodes that restart with other shards, clients that come with any credential
and any cursor at any door, and clients that come back. A model that knows the rules, and nothing of
the hub, says which callers are let in, what each client may see, and what it must not miss.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlencode
from zlib import crc32

import orjson
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broadcaster.app import Application, create_app
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Window
from broadcaster.node.expiry import sweep
from broadcaster.settings import Settings
from tests.wait import PATIENCE_S, until
from tests.web.tokens.issuers import SECRET, token

T = TypeVar("T")
SHOP, OTHER = "https://shop.example", "https://other.example"
NAMES = ("orders", "carts")
TENANTS = ("ann", "bob", "eve")
#: Keys that look alike, or that something on the way might take for others.
FAMILIES = (
    ("7", "7:8", ":7", "*", "*7"),
    ("7", "7/8", "7%2F8", "/", "%2F", "..", "../7", "7/..", "."),
    ("7", "7\0", "\0", "7%00", "7#1", "7?key=ann", "7&key=ann", "7,ann", "7+", "7 "),
    ("\u00e9", "e\u0301", "\u00c9", "e", "7", "\uff17", "\u0667"),
    ("ann", "Ann", "\uff41nn", "ann\u200b", "\u0430nn", "an\uff4e"),
)
EVERY = "*"
#: The paths of channels, and what is asked for at `/v1/events`.
DOORS = ("/orders/", "/carts", "orders", "carts", "orders,carts")
TICKET_S = 60.0
STARTS = ("earliest", "earliest", "latest", "", "10s")
SHARDS = st.sampled_from([1, 2, 3])
#: How a client sends a cursor.
CARRIERS = ("last-event-id", "lastEventId", "from")
#: Cursors that the hub has given to no client.
FORGED = (
    "0", "0-0", "1-1", "9999999999999-9", "18446744073709551615-18446744073709551615",
    "18446744073709551616-0", "orders=0-0", "carts=0-0,orders=0-0", "orders.0=0-0",
    "orders.0=0-0,orders.1=0-0,orders.2=0-0,carts=0-0", "carts=1-1,orders.2=9999999999999-0",
    "orders=0-0,orders=9-9", "secret=0-0", "run=0-0", "../orders=0-0", "orders:ann", "ann", "*",
    "\0", "-", "=", ",",
)  # fmt: skip

Keys = frozenset[str]


class Event(NamedTuple):
    """An event that was published."""

    name: str
    key: str
    stream: str
    at_s: float


@dataclass
class Credential:
    """A token, or a ticket that was made of one, and what the model knows about it."""

    text: str
    subject: str
    id: str
    issued_s: int
    ends_s: float  # of the token: its streams end then
    opens_s: float  # until when it opens streams
    rights: dict[str, Keys]
    origin: str | None = None  # of a ticket


@dataclass
class Stream:
    """An answer to a client, and what the client may see if it was let in.

    Attributes:
        of: what the client came with.
        node: that it came to.
        shards: of that node's channel `orders`.
        door: a path, or the channels that it names at `/v1/events`.
        asked: the keys that it names.
        keys: that it may see of each channel; None is every key.
        opened_at: the number of events that were published before it came.
        owed: those of them that it must get; None if that is not known, because of its cursor.
        before: those that it got from an earlier answer.
        exact: it gets no others of them than it is owed.
        must_reset: its cursor names a stream that its node does not read for it.
        ended_at: the number of events that were published when its right ended, or when it left.
    """

    of: Credential
    node: int
    shards: int = 1
    door: str = ""
    asked: Keys = frozenset()
    keys: dict[str, Keys | None] = field(default_factory=dict)
    opened_at: int = 0
    owed: frozenset[int] | None = None
    before: frozenset[int] = frozenset()
    exact: bool = True
    must_reset: bool = False
    status: int = 0
    body: bytes = b""
    read: int = 0
    resets: int = 0
    seen: list[int] = field(default_factory=list)
    cursor: str = ""
    ended_at: int | None = None
    live: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.body += message.get("body", b"")
        if b"stream.live" in self.body or not message.get("more_body"):
            self.live.set()

    def take(self) -> None:
        """Read the complete blocks that have come."""
        end = self.body.rfind(b"\n\n") + 2
        blocks, self.read = self.body[self.read : end].split(b"\n\n"), max(end, self.read)
        for block in blocks:
            lines = dict(re.findall(rb"(?m)^(\w+): (.*)$", block))
            self.cursor = lines.get(b"id", b"").decode() or self.cursor
            self.resets += lines.get(b"event") == b"stream.reset"
            self.seen += map(int, re.findall(rb"secret-(\d+)", block))


def names(door: str) -> list[str]:
    """The channels that a door leads to."""
    return door.strip("/").split(",")


def covers(rights: Keys, key: str) -> bool:
    return EVERY in rights or key in rights


def streams_of(name: str, keys: Keys | None, shards: int) -> set[str]:
    """The streams in which the events of a channel with these keys are."""
    if name != "orders" or shards == 1:
        return {name}
    numbers = range(shards) if keys is None else [crc32(key.encode()) % shards for key in keys]
    return {f"{name}.{number}" for number in numbers}


@cache
def settings(shards: int, window: int) -> Settings:
    return Settings(
        channels={
            "orders": {"path": "/orders/{key}", "shards": shards, "window_events": window},
            "carts": {"path": "/carts", "window_events": window},
        },
        token_secrets=[SECRET],
        ticket_secrets=[SECRET],
        token_cookie="session",
        leeway_s=0,
        ticket_s=TICKET_S,
        cors_origins=[SHOP],
    )


def has_left(stream: Stream) -> bool:
    """Return True for a client that can go on where it was."""
    return stream.ended_at is not None and bool(stream.cursor)


class Node(NamedTuple):
    """A node that runs.

    Attributes:
        app: to send requests to.
        shards: of its channel `orders`.
        revoked: when names were revoked, as far as the node has heard of it.
    """

    app: Application
    shards: int
    revoked: dict[str, int]


class Tenants(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_790_000_000.0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(time, "time", lambda: self.now_s)
        self.patch.setattr(time, "time_ns", lambda: int(self.now_s * 1e9))
        self.loop = asyncio.new_event_loop()
        self.log = MemoryLog()
        self.nodes: list[Node] = []
        self.streams: list[Stream] = []
        self.credentials: list[Credential] = []
        self.published: list[Event] = []
        self.heads: dict[str, EventId] = {}  # the newest ids
        self.revocations: list[tuple[str, int]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, PATIENCE_S))

    @initialize(
        shards=SHARDS,
        window=st.sampled_from([2, 100]),
        families=st.sets(st.sampled_from(FAMILIES), min_size=1, max_size=2),
    )
    def begin(self, shards: int, window: int, families: set[tuple[str, ...]]) -> None:
        self.shards, self.window = shards, window  # `shards` are those of the producers
        self.keys = sorted({key for family in families for key in family} | {"7", *TENANTS})
        for _ in range(2):
            self.nodes.append(self.run(self._started(shards)))
        for tenant in TENANTS:
            self._issue(tenant, [("orders", tenant), ("orders", "7"), ("carts", tenant)], 1000)
        self._issue(TENANTS[-1], [(name, EVERY) for name in NAMES], 1000)

    async def _started(self, shards: int) -> Node:
        """Start a node. It has read all revocations before it serves a client."""
        app = create_app(settings(shards, self.window), log=self.log)
        node: Any = app.state.node
        node.verifier = replace(node.verifier, now_s=lambda: self.now_s)
        node.start()
        for loaded in node.pump.loaded.values():
            await loaded.wait()
        await node.revoking._note(self.revocations)
        return Node(app, shards, dict(self.revocations))

    @precondition(lambda self: self.open_streams)
    @rule(number=st.integers(0, 1), shards=SHARDS, producers=st.booleans())
    def restart(self, number: int, shards: int, producers: bool) -> None:
        """A node ends, and comes back, perhaps with other shards; perhaps producers have them."""
        self.run(self._restart(number, shards))
        if producers:
            self.shards = shards

    async def _restart(self, number: int, shards: int) -> None:
        await self.nodes[number].app.state.node.aclose()
        for stream in self.streams:
            if stream.node == number and stream.task:
                await stream.task
                self.close(stream)
        self.nodes[number] = await self._started(shards)

    @rule(data=st.data(), several=st.integers(1, 3))
    def publish(self, data: st.DataObject, several: int) -> None:
        """Producers publish, rather about what clients follow than about anything else."""
        every = [(name, key) for name in NAMES for key in ("", *self.keys)]
        followed = [
            (name, key)
            for stream in self.open_streams
            for name, keys in stream.keys.items()
            for key in sorted(keys or ())
        ]
        for _ in range(several):
            anything = not followed or data.draw(st.booleans())
            name, key = data.draw(st.sampled_from(every if anything else followed))
            (stream,) = streams_of(name, frozenset([key]), self.shards)
            data_ = f"secret-{len(self.published)}"
            self.heads[stream] = self.log.add(stream, type="t", key=key, data=data_)
            self.published.append(Event(name, key, stream, self.now_s))
        self.run(self._settle())

    async def _settle(self) -> None:
        """Wait until all that must come has come, so what is drawn next depends on no clock."""
        for node in self.nodes:
            for name, window in node.app.state.node.hub.windows.items():
                await until(partial(self._has_all, name, window))
        for stream in self.streams:
            if stream.ended_at is None:
                await self._received(stream)
            elif stream.task:
                await stream.task

    def _has_all(self, stream: str, window: Window) -> bool:
        return window.head >= self.heads.get(stream, ZERO)

    @precondition(lambda self: len(self.usable(0)) < 8)
    @rule(data=st.data(), tenant=st.sampled_from(TENANTS), lives_s=st.sampled_from([20, 100, 1000]))
    def issue(self, data: st.DataObject, tenant: str, lives_s: int) -> None:
        right = st.tuples(st.sampled_from(NAMES), st.sampled_from([*self.keys, EVERY]))
        self._issue(tenant, data.draw(st.lists(right, max_size=4)), lives_s)

    def _issue(self, tenant: str, rights: list[tuple[str, str]], lives_s: int) -> None:
        id_, issued_s = f"t{len(self.credentials)}", int(self.now_s)
        ends_s = issued_s + lives_s
        text = token(
            sub=tenant,
            jti=id_,
            iat=issued_s,
            exp=ends_s,
            broadcaster={"subscribe": [f"{name}:{key}" for name, key in rights]},
        )
        found = {n: frozenset(key for name, key in rights if name == n) for n in NAMES}
        granted = {name: keys for name, keys in found.items() if keys}
        made = Credential(text, tenant, id_, issued_s, ends_s, ends_s, granted)
        self.credentials.append(made)

    def usable(self, node: int) -> list[Credential]:
        """The credentials that open streams now."""
        return [
            one
            for one in self.credentials
            if self.now_s < one.opens_s and not self.is_revoked(one, node)
        ]

    def is_revoked(self, of: Credential, node: int) -> bool:
        times = [self.nodes[node].revoked.get(name, -1) for name in (of.subject, of.id)]
        return any(of.issued_s * 1000 <= at_ms for at_ms in times)

    @precondition(lambda self: len(self.usable(0)) < 8)
    @rule(data=st.data(), node=st.integers(0, 1), origin=st.sampled_from([SHOP, OTHER]))
    def take_ticket(self, data: st.DataObject, node: int, origin: str) -> None:
        of = data.draw(st.sampled_from(self.usable(node) or self.credentials))
        headers = {"authorization": f"Bearer {of.text}", "origin": origin}
        answer = Stream(of, node)
        self.run(self._ask(answer, "POST", "/v1/tickets", "", headers))
        good = self.now_s < of.ends_s and not self.is_revoked(of, node)
        expected = 401 if of.origin or not good else 200 if of.rights else 403
        assert answer.status == expected
        if expected == 200:
            text = orjson.loads(answer.body)["ticket"]
            opens_s = min(self.now_s + TICKET_S, of.ends_s)
            made = Credential(
                text, of.subject, of.id, of.issued_s, of.ends_s, opens_s, of.rights, origin
            )
            self.credentials.append(made)

    async def _ask(
        self, stream: Stream, method: str, path: str, query: str, headers: dict[str, str]
    ) -> None:
        given = {"host": "hub.example", **headers}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("192.0.2.1", 5),
        }
        app: Any = self.nodes[stream.node].app
        stream.task = asyncio.ensure_future(app(scope, stream.receive, stream.send))
        await stream.live.wait()

    @property
    def open_streams(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.ended_at is None]

    @precondition(lambda self: len(self.open_streams) < 8)
    @rule(
        data=st.data(),
        node=st.integers(0, 1),
        wild=st.sampled_from([False, False, True]),
        start=st.sampled_from(STARTS),
        carrier=st.sampled_from(("", "", *CARRIERS)),
    )
    def open(self, data: st.DataObject, node: int, wild: bool, start: str, carrier: str) -> None:
        """A client comes, perhaps with the cursor of another one, or with a forged one.

        If it is not wild, it asks only for what its credential lets it see.
        """
        of = data.draw(st.sampled_from((not wild and self.usable(node)) or self.credentials))
        doors = [d for d in DOORS if wild or all(name in of.rights for name in names(d))]
        door = data.draw(st.sampled_from(doors or DOORS))
        rights = [of.rights.get(name, frozenset()) for name in names(door)]
        keys = [key for key in self.keys if wild or all(covers(of_, key) for of_ in rights)]
        asked = data.draw(st.frozensets(st.sampled_from(keys or self.keys), max_size=2))
        if door == "/orders/":
            asked = frozenset(sorted(asked)[:1] or keys[:1] or ["7"])
        cookie = data.draw(st.booleans())
        origin = of.origin or SHOP
        if wild:
            origin = data.draw(st.sampled_from([SHOP, OTHER, ""]))
        stream = self._coming(of, node, door, asked)
        given = [("from", start)] if start else []
        if carrier:
            others = {stream.cursor for stream in self.streams if stream.cursor}
            given = [(carrier, data.draw(st.sampled_from(sorted(others) or FORGED[:1])))]
            if data.draw(st.booleans()):
                given = [(carrier, data.draw(st.sampled_from(FORGED)))]
        else:
            stream.owed = frozenset(self._begun(start, stream))
        self._visit(stream, given, cookie, origin)

    def _coming(self, of: Credential, node: int, door: str, asked: Keys) -> Stream:
        """An answer that is still to come."""
        keys: dict[str, Keys | None] = {}
        for name in names(door):
            rights = of.rights.get(name, frozenset())
            keys[name] = asked or (None if EVERY in rights else rights)
        shards, opened_at = self.nodes[node].shards, len(self.published)
        return Stream(of, node, shards, door, asked, keys, opened_at)

    def _begun(self, start: str, stream: Stream) -> list[int]:
        """The events of the past that a client is owed."""
        since_s = {"earliest": 0.0, "10s": self.now_s - 10}.get(start, self.now_s + 1)
        return [n for n in self.visible(stream) if self.published[n].at_s >= since_s]

    @precondition(lambda self: len(self.open_streams) < 8 and any(map(has_left, self.streams)))
    @rule(
        data=st.data(),
        node=st.integers(0, 1),
        carrier=st.sampled_from(CARRIERS),
        again=st.booleans(),
    )
    def come_back(self, data: st.DataObject, node: int, carrier: str, again: bool) -> None:
        """A client goes on where it was, with the same credential or another one, at any node."""
        old = data.draw(st.sampled_from([s for s in self.streams if has_left(s)]))
        others = self.usable(node) or self.credentials
        of = old.of if again else data.draw(st.sampled_from(others))
        stream = self._coming(of, node, old.door, old.asked)
        stream.cursor = old.cursor
        named = re.findall("([^,]+)=", old.cursor) or names(old.door)
        moved = not set(named) <= self.read_by(stream).keys()
        stream.must_reset = moved and old.cursor != "0-0"  # the beginning of any streams
        if old.owed is not None and stream.keys == old.keys:
            stream.before = old.before | set(old.seen)
            due = self.due(replace(stream, opened_at=old.opened_at, owed=old.owed))
            stream.owed = frozenset(due - stream.before)
            stream.exact = old.exact and stream.shards == old.shards
        self._visit(stream, [(carrier, old.cursor)], cookie=False, origin=of.origin or SHOP)

    def _visit(
        self, stream: Stream, given: list[tuple[str, str]], cookie: bool, origin: str
    ) -> None:
        """Send the request of a client, and compare the answer with what the rules say."""
        of, headers = stream.of, {"origin": origin} if origin else {}
        headers |= {name: value for name, value in given if name == "last-event-id"}
        query = [pair for pair in given if pair[0] not in headers]
        if of.origin:
            query.append(("ticket", of.text))
        elif cookie:
            headers["cookie"] = f"session={of.text}"
        else:
            headers["authorization"] = f"Bearer {of.text}"
        path, asked = stream.door, sorted(stream.asked)
        if path == "/orders/":
            path += quote(asked[0], safe="")
        elif path != "/carts":
            path = "/v1/events"
            query.append(("channel", stream.door))
        query += [("key", key) for key in asked if stream.door != "/orders/"]
        self.run(self._ask(stream, "GET", path, urlencode(query), headers))
        expected = self.expected(of, stream.node, list(stream.keys), stream.asked, cookie, origin)
        own = stream.cursor or stream.owed is not None
        may_be_wrong = "from" in dict(given) and not own
        assert stream.status == expected or (stream.status == 400 and may_be_wrong)
        if stream.status == 200:
            self._note(stream)
        else:
            assert b"secret-" not in stream.body

    def _note(self, stream: Stream) -> None:
        """Note that a client was let in. If its cursor may prove nothing, it is reset."""
        self.streams.append(stream)
        stream.take()
        assert stream.resets or not stream.must_reset
        if stream.resets:
            assert stream.owed is None or stream.must_reset
            stream.owed, stream.before = None, frozenset()

    def expected(
        self, of: Credential, node: int, channels: list[str], keys: Keys, cookie: bool, origin: str
    ) -> int:
        """The status that the rules say."""
        if of.origin:
            same = of.origin == origin
            if not same or self.now_s >= of.opens_s:
                return 401
        elif cookie and origin == OTHER:
            return 403
        if self.now_s >= of.ends_s or self.is_revoked(of, node):
            return 401
        granted = [of.rights.get(name) for name in channels]
        if not all(g and all(covers(g, key) for key in keys) for g in granted):
            return 403
        return 200

    @precondition(lambda self: self.open_streams)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.open_streams))
        stream.left.set()
        self.close(stream)
        self.run(self._settle())

    def close(self, stream: Stream) -> None:
        if stream.ended_at is None:
            stream.ended_at = len(self.published)

    @rule(passes_s=st.sampled_from([0.5, 1.0, 10.0]))
    def let_time_pass(self, passes_s: float) -> None:
        self.now_s += passes_s
        for number, one in enumerate(self.nodes):
            node = one.app.state.node
            self.run(sweep(node.hub.subscribers.expiries, node.end, self.now_s + 0.25))
            for stream in self.streams:
                if stream.node == number and stream.of.ends_s <= self.now_s + 0.25:
                    self.close(stream)
        self.run(self._settle())

    @precondition(lambda self: self.open_streams)
    @rule(data=st.data(), reached=st.sets(st.integers(0, 1)))
    def revoke(self, data: st.DataObject, reached: set[int]) -> None:
        """A revocation comes to some nodes. The others have not heard of it yet."""
        ids = [one.id for one in self.credentials]
        name = data.draw(st.sampled_from(sorted({*TENANTS, *ids})))
        at_ms = int(self.now_s * 1000)
        self.revocations.append((name, at_ms))
        for node in reached:
            self.nodes[node].revoked[name] = at_ms
            self.run(self.nodes[node].app.state.node.revoking._note([(name, at_ms)]))
            for stream in self.streams:
                if stream.node == node and self.is_revoked(stream.of, node):
                    self.close(stream)
        self.run(self._settle())

    @invariant()
    def nothing_leaks(self) -> None:
        for stream in self.streams:
            stream.take()
            for number in stream.seen:
                name, key, *_ = self.published[number]
                keys = stream.keys.get(name, frozenset())
                assert keys is None or key in keys, (name, key)
                assert covers(stream.of.rights.get(name, frozenset()), key), (name, key)
                assert stream.ended_at is None or number < stream.ended_at

    def read_by(self, stream: Stream) -> dict[str, Keys | None]:
        """The streams that its node reads for a client, and the keys that it may see there."""
        return {
            name: keys
            for channel, keys in stream.keys.items()
            for name in streams_of(channel, keys, stream.shards)
        }

    def visible(self, stream: Stream) -> list[int]:
        """The events that a client may see, and that its node reads."""
        read = self.read_by(stream)
        return [
            number
            for number, event in enumerate(self.published)
            if event.stream in read and ((keys := read[event.stream]) is None or event.key in keys)
        ]

    def due(self, stream: Stream) -> set[int]:
        """The events that a client must have got in the end."""
        owed = stream.owed or frozenset()
        return {n for n in self.visible(stream) if n >= stream.opened_at or n in owed}

    async def _received(self, stream: Stream) -> None:
        """Wait until a client has all that it must get."""
        due = self.due(stream)
        stream.take()
        while not due <= set(stream.seen):
            await asyncio.sleep(0.001)
            stream.take()

    async def _complete(self, stream: Stream) -> None:
        """Wait until a client has all that it must get; it has it once, and in order."""
        due = self.due(stream)
        await self._received(stream)
        assert not stream.before & set(stream.seen)
        if stream.owed is not None and stream.exact:
            assert set(stream.seen) == due
        by_stream: dict[str, list[int]] = {}
        for number in stream.seen:
            by_stream.setdefault(self.published[number].stream, []).append(number)
        assert all(numbers == sorted(set(numbers)) for numbers in by_stream.values())

    async def _end(self) -> None:
        for stream in self.streams:
            stream.left.set()
        tasks = [stream.task for stream in self.streams if stream.task]
        await asyncio.gather(*tasks)
        for node in self.nodes:
            await node.app.state.node.aclose()

    def teardown(self) -> None:
        """Those that may still read have got all that they may see, so silence is no success."""
        try:
            for stream in self.open_streams:
                self.run(self._complete(stream))
            self.nothing_leaks()
        finally:
            self.run(self._end())
            self.loop.close()
            self.patch.undo()


# Some seconds; `--hypothesis-profile=search` takes up to 100,000 steps.
Tenants.TestCase.settings = hypothesis_settings(stateful_step_count=50)
TestTenants = Tenants.TestCase
