"""No tenant sees an event of another one, whatever happens at two nodes.

Hypothesis decides what happens: events, tokens, tickets, revocations that reach one node before the
other, times that pass, clients that come with any credential and any cursor at any door. A model
that knows the rules, and nothing of the hub, says who is let in and what each client may see.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode

import orjson
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broadcaster.app import Application, create_app
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.channel import shard_of
from broadcaster.node.expiry import sweep
from broadcaster.settings import Settings
from tests.wait import PATIENCE_S
from tests.web.tokens.issuers import SECRET, token

T = TypeVar("T")
SHOP, OTHER = "https://shop.example", "https://other.example"
NAMES = ("orders", "carts")
#: Keys that look alike, or that something on the way might take for others.
KEYS = ("7", "7:8", ":7", "*7", "7/8", "7%2F8", "..", "7\0", "7#1", "\u00e9", "e\u0301", "\uff17")
TENANTS = ("ann", "bob", "eve")
EVERY = "*"
TICKET_S = 60.0

Keys = frozenset[str]


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
    """A client that was let in, and what it may see."""

    of: Credential
    node: int
    keys: dict[str, Keys]
    whole: bool
    status: int = 0
    body: bytes = b""
    read: int = 0
    seen: list[int] = field(default_factory=list)
    cursor: str = ""
    ended_at: int | None = None  # the number of events that were published when its right ended
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
            type_ = lines.get(b"event", b"")
            if type_ == b"stream.reset":
                self.whole = False
            elif lines and not type_.startswith(b"stream."):
                self.seen.append(int(lines[b"data"]))


def covers(keys: Keys, key: str) -> bool:
    return EVERY in keys or key in keys


class Tenants(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_790_000_000.0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(time, "time", lambda: self.now_s)
        self.loop = asyncio.new_event_loop()
        self.nodes: list[Application] = []
        self.streams: list[Stream] = []
        self.credentials: list[Credential] = []
        self.published: list[tuple[str, str]] = []
        self.revoked: list[dict[str, float]] = [{}, {}]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, PATIENCE_S))

    @initialize(shards=st.sampled_from([1, 3]), window=st.sampled_from([2, 100]))
    def begin(self, shards: int, window: int) -> None:
        self.shards, self.log = shards, MemoryLog()
        settings = Settings(
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
        self.run(self._begin(settings))
        for tenant in TENANTS:
            self.issue(tenant, [("orders", tenant), ("carts", "7")], 100)

    async def _begin(self, settings: Settings) -> None:
        for _ in range(2):
            self.nodes.append(create_app(settings, log=self.log))
            node = self.nodes[-1].state.node
            node.verifier = replace(node.verifier, now_s=lambda: self.now_s)
            node.start()
            for loaded in node.pump.loaded.values():
                await loaded.wait()

    @rule(name=st.sampled_from(NAMES), key=st.sampled_from(("", *TENANTS, *KEYS)))
    def publish(self, name: str, key: str) -> None:
        sharded = name == "orders" and self.shards > 1
        stream = f"{name}.{shard_of(key, self.shards)}" if sharded else name
        self.log.add(stream, type="t", key=key, data=str(len(self.published)))
        self.published.append((name, key))
        self.run(self._settle())

    async def _settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    @precondition(lambda self: len(self.credentials) < 12)
    @rule(
        tenant=st.sampled_from(TENANTS),
        rights=st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from((*KEYS, EVERY))), max_size=4
        ),
        lives_s=st.sampled_from([20, 100, 1000]),
    )
    def issue(self, tenant: str, rights: list[tuple[str, str]], lives_s: int) -> None:
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

    def is_revoked(self, of: Credential, node: int) -> bool:
        times = [self.revoked[node].get(name, -1.0) for name in (of.subject, of.id)]
        return any(of.issued_s * 1000 <= at_ms for at_ms in times)

    @precondition(lambda self: len(self.credentials) < 12)
    @rule(data=st.data(), node=st.integers(0, 1), origin=st.sampled_from([SHOP, OTHER]))
    def take_ticket(self, data: st.DataObject, node: int, origin: str) -> None:
        of = data.draw(st.sampled_from(self.credentials))
        headers = {"authorization": f"Bearer {of.text}", "origin": origin}
        answer = Stream(of, node, {}, whole=False)
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
        app: Any = self.nodes[stream.node]
        stream.task = asyncio.ensure_future(app(scope, stream.receive, stream.send))
        await stream.live.wait()

    @precondition(lambda self: len([s for s in self.streams if s.ended_at is None]) < 8)
    @rule(
        data=st.data(),
        node=st.integers(0, 1),
        door=st.sampled_from(["/orders/", "/carts", "orders", "carts", "orders,carts"]),
        keys=st.frozensets(st.sampled_from((*TENANTS, *KEYS)), max_size=2),
        cookie=st.booleans(),
        origin=st.sampled_from([SHOP, SHOP, OTHER, ""]),
        resumes=st.booleans(),
    )
    def open(
        self,
        data: st.DataObject,
        node: int,
        door: str,
        keys: Keys,
        cookie: bool,
        origin: str,
        resumes: bool,
    ) -> None:
        """A client comes, perhaps with the cursor of another one."""
        of = data.draw(st.sampled_from(self.credentials))
        query: list[tuple[str, str]] = [("from", "earliest")]
        headers = {"origin": origin} if origin else {}
        if resumes and self.streams:
            cursor = data.draw(st.sampled_from(self.streams)).cursor
            headers |= {"last-event-id": cursor} if cursor else {}
        if of.origin:
            query.append(("ticket", of.text))
        elif cookie:
            headers["cookie"] = f"session={of.text}"
        else:
            headers["authorization"] = f"Bearer {of.text}"
        path = door
        if door == "/orders/":
            keys = frozenset(sorted(keys)[:1] or ["7"])
            (key,) = keys
            path += quote(key, safe="")
        elif door == "/carts":
            query += [("key", key) for key in sorted(keys)]
        else:
            path = "/v1/events"
            query += [("channel", door), *(("key", key) for key in sorted(keys))]
        names = door.strip("/").split(",")
        seen = {n: keys if keys else of.rights.get(n, frozenset()) for n in names}
        whole = "last-event-id" not in headers
        stream = Stream(of, node, seen, whole=whole)
        self.run(self._ask(stream, "GET", path, urlencode(query), headers))
        assert stream.status == self.expected(of, node, names, keys, cookie, origin)
        if stream.status == 200:
            self.streams.append(stream)

    def expected(
        self, of: Credential, node: int, names: list[str], keys: Keys, cookie: bool, origin: str
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
        granted = [of.rights.get(name) for name in names]
        if not all(g and all(covers(g, key) for key in keys) for g in granted):
            return 403
        return 200

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        stream.left.set()
        self.run(self._settle())
        self.close(stream)

    def close(self, stream: Stream) -> None:
        if stream.ended_at is None:
            stream.ended_at = len(self.published)

    @rule(passes_s=st.sampled_from([0.5, 1.0, 10.0, 30.0]))
    def let_time_pass(self, passes_s: float) -> None:
        self.now_s += passes_s
        for number, app in enumerate(self.nodes):
            node = app.state.node
            self.run(sweep(node.hub.subscribers.expiries, node.end, self.now_s + 0.25))
            for stream in self.streams:
                if stream.node == number and stream.of.ends_s <= self.now_s + 0.25:
                    self.close(stream)

    @rule(data=st.data(), reached=st.sets(st.integers(0, 1)))
    def revoke(self, data: st.DataObject, reached: set[int]) -> None:
        """A revocation comes to some nodes. The others have not heard of it yet."""
        ids = [one.id for one in self.credentials]
        name = data.draw(st.sampled_from(sorted({*TENANTS, *ids})))
        for node in reached:
            at_ms = int(self.now_s * 1000)
            self.revoked[node][name] = at_ms
            self.run(self.nodes[node].state.node.revoking._note([(name, at_ms)]))
            for stream in self.streams:
                if stream.node == node and self.is_revoked(stream.of, node):
                    self.close(stream)

    @invariant()
    def nothing_leaks(self) -> None:
        for stream in self.streams:
            stream.take()
            for number in stream.seen:
                name, key = self.published[number]
                assert covers(stream.keys.get(name, frozenset()), key), (name, key)
                assert covers(stream.of.rights.get(name, frozenset()), key), (name, key)
                assert stream.ended_at is None or number < stream.ended_at

    def wanted(self, stream: Stream) -> list[int]:
        return [
            number
            for number, (name, key) in enumerate(self.published)
            if covers(stream.keys.get(name, frozenset()), key)
        ]

    async def _complete(self, stream: Stream) -> None:
        wanted = self.wanted(stream)
        while len(stream.seen) < len(wanted):
            await asyncio.sleep(0.001)
            stream.take()
        assert sorted(stream.seen) == wanted

    async def _end(self) -> None:
        for stream in self.streams:
            stream.left.set()
        tasks = [stream.task for stream in self.streams if stream.task]
        await asyncio.gather(*tasks)
        for app in self.nodes:
            await app.state.node.aclose()

    def teardown(self) -> None:
        """Those that may still read have got all that they may see, so silence is no success."""
        try:
            for stream in self.streams:
                if stream.whole and stream.ended_at is None:
                    self.run(self._complete(stream))
            self.nothing_leaks()
        finally:
            self.run(self._end())
            self.loop.close()
            self.patch.undo()


# Some seconds; `--hypothesis-profile=search` takes up to 100,000 steps.
Tenants.TestCase.settings = hypothesis_settings(stateful_step_count=50)
TestTenants = Tenants.TestCase
