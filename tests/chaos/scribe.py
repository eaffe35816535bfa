"""Logs as a hub that makes no mistake would let producers and clients write them."""

from __future__ import annotations

import orjson

from tests.chaos.checker import Fault, Report, check
from tests.chaos.history import (
    Added,
    Block,
    Chain,
    Id,
    Kind,
    Ledger,
    Recording,
    Subscription,
    accepts,
    digest_of,
    text_of,
)

ONE = Subscription(("a",))
BOTH = Subscription(("a", "b"))
KEYED = Subscription(("a",), keys=("k0", "k1"))
TYPED = Subscription(("a", "b"), types=("t0",))


def ledger_of(*streams: str, count: int = 40) -> Ledger:
    """Entries in turn in each stream, whose ids grow by 10 ms."""
    ledger = Ledger()
    for number in range(count):
        for order, stream in enumerate(streams):
            add(ledger, stream, (1000 + 10 * number + order, number % 3), number)
    return ledger


def add(ledger: Ledger, stream: str, id_: Id | None, seq: int, sent_s: float = 0.0) -> Added:
    digest = digest_of(f"{stream} {seq}".encode())
    added = Added(stream, seq, digest, f"k{seq % 4}", f"t{seq % 2}", sent_s, id_, sent_s)
    ledger.added.append(added)
    if id_ is not None:
        ledger.final.setdefault(stream, {})[id_] = digest
    return added


class Scribe:
    """Writes chains as a hub that makes no mistake would let them be."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.recording = Recording()
        self._numbers: dict[Block, int] = {}
        self.chain = Chain("", ONE)
        self.at: dict[str, Id] = {}

    def number(self, block: Block) -> int:
        if block not in self._numbers:
            self._numbers[block] = len(self.recording.blocks)
            self.recording.blocks.append(block)
        return self._numbers[block]

    def begin(self, subscription: Subscription, **at: Id) -> Scribe:
        self.chain = Chain(f"client {len(self.recording.chains)}", subscription)
        self.chain.complete = True
        self.recording.chains.append(self.chain)
        self.at = {name: at.get(name, (0, 0)) for name in subscription.streams}
        return self.connect()

    def connect(self) -> Scribe:
        self.chain.note("connect", "", 0.0)
        return self.put(Block(Kind.CHECKPOINT, self.cursor()))

    def put(self, block: Block, at_s: float = 0.0) -> Scribe:
        self.chain.block(self.number(block), at_s)
        return self

    def cursor(self) -> str:
        if len(self.at) == 1:
            return text_of(next(iter(self.at.values())))
        return ",".join(f"{name}={text_of(id_)}" for name, id_ in sorted(self.at.items()))

    def event(self, added: Added) -> Scribe:
        assert added.id
        self.at[added.stream] = added.id
        return self.put(Block(Kind.EVENT, self.cursor(), added.type, added.digest))

    def events(self, count: int | None = None) -> Scribe:
        """Deliver what comes next, merged by id."""
        subscription, left = self.chain.subscription, count
        for added in sorted(self.ledger.added, key=lambda added: added.id or (0, 0)):
            wanted = accepts(subscription, added.stream, added.key, added.type)
            if wanted and added.id and added.id > self.at[added.stream] and left != 0:
                self.event(added)
                left = None if left is None else left - 1
        return self

    def checkpoint(self, **at: Id) -> Scribe:
        self.at |= at
        return self.put(Block(Kind.CHECKPOINT, self.cursor()))

    def reset(self, stream: str, resumed: Id, reason: str = "trimmed", at_s: float = 0.0) -> Scribe:
        told = {"channel": stream, "reason": reason, "requested": text_of(self.at[stream])}
        self.at[stream] = resumed
        data = orjson.dumps({**told, "resumed": text_of(resumed)}).decode()
        return self.put(Block(Kind.RESET, self.cursor(), "stream.reset", data=data), at_s)

    def superseded(self, stream: str, events: int) -> Scribe:
        data = orjson.dumps({"channel": stream, "events": events}).decode()
        return self.put(Block(Kind.SUPERSEDED, None, "stream.superseded", data=data))

    def state(self, stream: str) -> Scribe:
        """Deliver the state of a stream, at its newest event."""
        data = orjson.dumps({"channel": stream, "keys": 1}).decode()
        self.put(Block(Kind.STATE, "state", "stream.state", data=data))
        self.at[stream] = max(added.id for added in self.ledger.added if added.id)
        return self.put(Block(Kind.LIVE, self.cursor(), "stream.live"))

    def report(self) -> Report:
        return check(self.recording, self.ledger)

    def found(self) -> dict[Fault, int]:
        return dict(self.report().counts)
