"""What TLS at the node costs: `python -m bench.tls [--clients N]`, which needs openssl.

Two nodes take turns: one that speaks TLS, and one that does not. For each: CPU time of a new
connection and of a delivery, and memory of an idle client, before and after all clients came anew.
"""

from __future__ import annotations

import os
import socket
import ssl
import statistics
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.child import Child
from broadcaster import EmbeddedRedis, SyncPublisher
from broadcaster.commands.host import raise_file_limit

_EVENTS = 50
_PAUSE_S = 0.02
_QUIET_S = 0.5
_SIZE = 180
_REQUEST = b"GET /v1/inventory/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Node:
    """A node and its clients."""

    def __init__(self, stack: ExitStack, redis_url: str, pem: str) -> None:
        given = {"redis_url": redis_url, "tls_certificate": pem, "heartbeat_s": 1e6}
        arguments = str(given).replace("'", '"')
        self.process = stack.enter_context(Child("bench.node", "transport", arguments))
        self._port = self.process.answer()["port"]
        self._trust = ssl.create_default_context(cafile=pem) if pem else None
        self._sockets: list[socket.socket] = []
        self.name = "TLS" if pem else "plain"

    def open(self, count: int) -> float:
        """Connect clients, and return the node's CPU time for each, in µs."""
        before_s = self.settled()
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", self._port))
            if self._trust:
                sock = self._trust.wrap_socket(sock, server_hostname="localhost")
            sock.sendall(_REQUEST)
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

    def deliver(self, publisher: SyncPublisher) -> float:
        """Publish some events, and return the node's CPU time for each delivery, in µs."""
        before_s = self.settled()
        for _ in range(_EVENTS):
            publisher.publish("inventory", data="x" * _SIZE)
            time.sleep(_PAUSE_S)
        return (self.settled() - before_s) / _EVENTS / len(self._sockets) * 1e6


def _pem(directory: Path) -> str:
    pem, key = directory / "node.pem", directory / "node.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key), "-out", str(pem),
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return str(pem)


@click.command()
@click.option("--clients", default=1000, show_default=True, help="of each node.")
@click.option("--rounds", default=3, show_default=True, help="of deliveries.")
def main(clients: int, rounds: int) -> None:
    """Print the figures of both nodes."""
    raise_file_limit()
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedRedis())
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="bench-tls-")))
        nodes = [Node(stack, redis.url, pem) for pem in ("", _pem(directory))]
        publisher = stack.enter_context(SyncPublisher(redis.url))
        for node in nodes:
            node.open(20)
            node.deliver(publisher)
            node.close()
            empty = node.process.pss_bytes()
            connect_us = node.open(clients)
            first = (node.process.pss_bytes() - empty) / clients / 1024
            for _ in range(2):
                node.close()
                node.open(clients)
            again = (node.process.pss_bytes() - empty) / clients / 1024
            memory = f"idle client {first:5.1f} KB, anew {again:5.1f} KB"
            print(f"{node.name:6} new connection {connect_us:6.0f} µs   {memory}", flush=True)
        costs: dict[str, list[float]] = {node.name: [] for node in nodes}
        for _ in range(rounds):
            for node in nodes:  # both get the events, and one of them is looked at
                costs[node.name].append(node.deliver(publisher))
        for name, found in costs.items():
            print(f"{name:6} delivery {statistics.median(found):5.2f} µs   {found}")


if __name__ == "__main__":
    main()
