"""Two nodes that differ in one thing take turns: what this thing costs.

`bench.tls` and `bench.tokens` use it. Each node has a Redis of its own, so that one of them rests
while the other is looked at. For each there is the CPU time of a new connection and of a delivery,
and the memory of an idle client, before and after all clients came anew.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench.child import Child
from broadcaster import EmbeddedRedis, SyncPublisher
from broadcaster.commands.host import raise_file_limit

_EVENTS = 50
_PAUSE_S = 0.02
_QUIET_S = 0.5
_SIZE = 180
_WARM_CLIENTS = 20


class Variant(NamedTuple):
    """One of the two.

    Attributes:
        name: for the output.
        settings: of the node.
        request: returns what the client of a number sends.
        before: requests that are answered at once, before memory is measured.
        trust: for TLS; None speaks plain HTTP.
    """

    name: str
    settings: dict[str, Any]
    request: Callable[[int], bytes]
    before: Sequence[bytes] = ()
    trust: ssl.SSLContext | None = None


def plain_request(_: int) -> bytes:
    """Return a request without a token."""
    return b"GET /v1/inventory/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Node:
    """A node and its clients."""

    def __init__(self, variant: Variant, stack: ExitStack) -> None:
        redis = stack.enter_context(EmbeddedRedis())
        given = {"redis_url": redis.url, "heartbeat_s": 1e6, **variant.settings}
        self._publisher = stack.enter_context(SyncPublisher(redis.url))
        self.process = stack.enter_context(Child("bench.node", "transport", json.dumps(given)))
        self._port = self.process.answer()["port"]
        self._variant = variant
        self._sockets: list[socket.socket] = []
        self.name = variant.name

    def warm_up(self) -> None:
        """Let the node load what it loads once."""
        with socket.create_connection(("127.0.0.1", self._port)) as sock:
            for request in self._variant.before:
                sock.sendall(request)
                while not sock.recv(1 << 16).endswith(b"\r\n\r\n"):
                    pass
        self.open(_WARM_CLIENTS)
        self.deliver()
        self.close()

    def open(self, count: int) -> float:
        """Connect clients, and return the node's CPU time for each, in µs."""
        before_s, trust = self.settled(), self._variant.trust
        for number in range(count):
            sock = socket.create_connection(("127.0.0.1", self._port))
            if trust:
                sock = trust.wrap_socket(sock, server_hostname="localhost")
            sock.sendall(self._variant.request(number))
            self._sockets.append(sock)
        return (self.settled() - before_s) / count * 1e6

    def close(self) -> None:
        """Have no clients."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self.settled()

    def settled(self) -> float:
        """Wait until the node has nothing to do, and return its CPU time so far, in seconds."""
        last_s, now_s = -1.0, self.process.cpu_s
        while now_s - last_s > 0.003:
            self._drop()
            time.sleep(_QUIET_S)
            last_s, now_s = now_s, self.process.cpu_s
        return now_s

    def _drop(self) -> None:
        """Read what came, as it came: the node's side is what counts."""
        for sock in self._sockets:
            os.set_blocking(sock.fileno(), False)
            try:
                while os.read(sock.fileno(), 1 << 20):
                    pass
            except BlockingIOError:
                os.set_blocking(sock.fileno(), True)

    def deliver(self) -> float:
        """Publish some events, and return the node's CPU time for each delivery, in µs."""
        before_s = self.settled()
        for _ in range(_EVENTS):
            self._publisher.publish("inventory", data="x" * _SIZE)
            time.sleep(_PAUSE_S)
        return (self.settled() - before_s) / _EVENTS / len(self._sockets) * 1e6


def compare(variants: Sequence[Variant], clients: int, rounds: int) -> None:
    """Measure the nodes in turns, and print the figures.

    Args:
        variants: of the nodes.
        clients: of each.
        rounds: of deliveries.
    """
    raise_file_limit()
    with ExitStack() as stack:
        nodes = [Node(variant, stack) for variant in variants]
        for node in nodes:
            node.warm_up()
            empty = node.process.pss_bytes()
            connect_us = node.open(clients)
            first = (node.process.pss_bytes() - empty) / clients / 1024
            for _ in range(2):
                node.close()
                node.open(clients)
            again = (node.process.pss_bytes() - empty) / clients / 1024
            memory = f"idle client {first:5.2f} KB, anew {again:5.2f} KB"
            print(f"{node.name:6} new connection {connect_us:6.0f} µs   {memory}", flush=True)
        costs: dict[str, list[float]] = {node.name: [] for node in nodes}
        for _ in range(rounds):
            for node in nodes:
                costs[node.name].append(node.deliver())
        for name, found in costs.items():
            each = ", ".join(f"{cost:.2f}" for cost in found)
            print(f"{name:6} delivery {statistics.median(found):5.2f} µs   of {each}")
