"""The servers that are measured, under one interface: ours, its peers, and the floor.

A server is started by entering its block and ends with it. `publish` gives it events as its users
would: through Redis, or by its own HTTP interface. What that costs the publisher, or Redis, is not
counted as the server's.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import redis

from bench.child import Child, Process
from bench.events import CHANNEL, PATH, TYPE, paced, stamped
from broadcaster import EmbeddedRedis, Outgoing, SyncPublisher
from broadcaster.backend.embedded import free_port
from broadcaster.settings import load_settings

NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NAMES = {
    "transport": "ours",
    "asgi": "ours, ASGI sink",
    "workers": "ours, --workers 2",
    "handmade": "hand-made",
    "nchan": "nchan",
    "floor": "floor",
}


class Server:
    """A server in processes of its own.

    Attributes:
        kind: one of `SERVERS`.
        name: for tables.
        port: of 127.0.0.1.
        process: the server's processes, without any others.
        path: where clients read.
        ready: what an answer has in it when the client counts as there.
    """

    kind = ""
    path = PATH
    ready = "\r\n\r\n"
    process: Process
    port: int

    def __init__(self) -> None:
        self.name: str = NAMES[self.kind]
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.push(self.stack)
            self.start()
            starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def start(self) -> None:
        """Start its processes on `stack`."""
        raise NotImplementedError

    def publish(self, data: Sequence[bytes]) -> None:
        """Publish events for all clients."""
        raise NotImplementedError

    def send(self, rate: float, seconds: float, size: int) -> None:
        """Publish events at a rate."""
        for due in paced(rate, seconds):
            self.publish([stamped(size) for _ in range(due)])


class OverRedis(Server):
    """A server that reads a Redis stream."""

    redis_url = ""

    def start(self) -> None:
        """Start the server, and a Redis of its own unless it was given one."""
        self.redis_url = self.redis_url or self.stack.enter_context(EmbeddedRedis()).url
        self.client = self.stack.enter_context(redis.Redis.from_url(self.redis_url))
        self.start_node()

    def start_node(self) -> None:
        """Start what reads it."""
        raise NotImplementedError


class Transport(OverRedis):
    """A node, with the sink that `broadcaster serve` uses."""

    kind = "transport"
    ready = "event: stream.live"

    def __init__(self, redis_url: str = "", **settings: Any) -> None:
        super().__init__()
        self.redis_url = redis_url
        self.settings = settings

    def start_node(self) -> None:
        """Start the node, and make a publisher to its channels."""
        settings = self.settings | {"redis_url": self.redis_url}
        self.publisher = self.stack.enter_context(SyncPublisher.of(load_settings(**settings)))
        self.child = self.stack.enter_context(Child("bench.node", self.kind, json.dumps(settings)))
        self.process = self.child
        self.port = self.child.answer()["port"]

    def publish(self, data: Sequence[bytes]) -> None:
        """Publish to the one channel."""
        self.publisher.publish_many([Outgoing(CHANNEL, TYPE, data=one) for one in data])

    def publish_to(
        self, where: Iterable[tuple[str, str]], rate: float, seconds: float, size: int
    ) -> None:
        """Publish events at a rate, each to the next of these channels and keys."""
        targets = iter(where)
        for due in paced(rate, seconds):
            self.publisher.publish_many(
                Outgoing(channel, TYPE, key, stamped(size))
                for channel, key in (next(targets) for _ in range(due))
            )

    def check_sink(self) -> None:
        """Stop the node, and see that it has used the sink that was meant.

        Raises:
            ValueError: it has used another one.
        """
        self.child.stop()
        used = [name for name, count in self.child.answer().items() if count]
        if used != [self.kind]:
            raise ValueError(f"the node used the sinks {used}, not {self.kind!r}")


class Asgi(Transport):
    """A node, with the sink for other servers than ours."""

    kind = "asgi"


class Workers(Transport):
    """Two nodes that share a port, as `broadcaster serve --workers 2` runs them."""

    kind = "workers"

    def start_node(self) -> None:
        """Start the command."""
        self.publisher = self.stack.enter_context(SyncPublisher(self.redis_url))
        command = [sys.executable, "-um", "broadcaster", "serve", "--workers", "2", "--port", "0"]
        settings = {"BROADCASTER_REDIS_URL": self.redis_url, "BROADCASTER_LOG_LEVEL": "warning"}
        settings["BROADCASTER_DRAIN_S"] = "0.1"
        self.process = self.stack.enter_context(Process(command, **settings))
        found = re.search(r":(\d+) ", self.process.line())
        assert found
        self.port = int(found[1])


class HandMade(OverRedis):
    """See `bench.handmade`."""

    kind = "handmade"

    def start_node(self) -> None:
        """Start it."""
        child = self.stack.enter_context(Child("bench.handmade", self.redis_url))
        self.process, self.port = child, child.answer()["port"]

    def publish(self, data: Sequence[bytes]) -> None:
        """Add plain entries."""
        with self.client.pipeline(transaction=False) as pipe:
            for one in data:
                pipe.xadd(CHANNEL, {"type": TYPE, "data": one}, maxlen=100_000, approximate=True)
            pipe.execute()


class Floor(Server):
    """See `bench.floor`."""

    kind = "floor"

    def start(self) -> None:
        """Start it."""
        self.child = self.stack.enter_context(Child("bench.floor"))
        self.process, self.port = self.child, self.child.answer()["port"]

    def send(self, rate: float, seconds: float, size: int) -> None:
        """Have it send."""
        self.child.ask(rate=rate, seconds=seconds, bytes=size)


class OverHttp(Server):
    """A server that is published to with POST, pipelined on one connection."""

    target = ""
    post_port = 0
    _sock: socket.socket

    def connect(self) -> None:
        """Open the connection to publish on."""
        self._sock = self.stack.enter_context(
            socket.create_connection(("127.0.0.1", self.post_port))
        )
        self._answers = self._sock.makefile("rb")

    def post(self, bodies: Sequence[bytes], headers: str = "") -> None:
        """Send requests, and read all their answers."""
        head = (
            f"POST {self.target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: %d\r\n\r\n"
        )
        self._sock.sendall(b"".join(head.encode() % len(body) + body for body in bodies))
        for _ in bodies:
            length = 0
            while (line := self._answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            self._answers.read(length)


class Nchan(OverHttp):
    """nginx with nchan, one worker: the module in C."""

    kind = "nchan"
    path = "/sub"
    target = "/pub"

    def start(self) -> None:
        """Write a configuration and start nginx with it."""
        directory = Path(self.stack.enter_context(TemporaryDirectory(prefix="bench-nchan-")))
        directory.chmod(0o755)
        self.port = self.post_port = free_port()
        (directory / "nginx.conf").write_text(_NGINX.replace("@PORT@", str(self.port)))
        command = ["nginx", "-p", str(directory), "-c", "nginx.conf", "-e", "error.log"]
        self.process = self.stack.enter_context(Process(command))
        wait_for_port(self.port)
        self.connect()

    def publish(self, data: Sequence[bytes]) -> None:
        """Post each event."""
        for start in range(0, len(data), 100):  # replies must not fill a buffer that is not read
            self.post(data[start : start + 100], f"X-EventSource-Event: {TYPE}\r\n")


_NGINX = f"""
load_module {NCHAN_MODULE};
daemon off; pid nginx.pid; error_log error.log; worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
  access_log off; keepalive_requests 100000000; nchan_shared_memory_size 256M;
  client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d;
  scgi_temp_path e;
  server {{
    listen 127.0.0.1:@PORT@ backlog=4096;
    location = /sub {{
      nchan_subscriber eventsource; nchan_channel_id x; nchan_message_buffer_length 20000;
      nchan_subscriber_first_message newest;
    }}
    location = /pub {{
      nchan_publisher; nchan_channel_id x; nchan_message_buffer_length 20000;
    }}
  }}
}}
"""


SERVERS: dict[str, type[Server]] = {
    kind.kind: kind for kind in (Transport, Asgi, Workers, HandMade, Nchan, Floor)
}


def missing() -> dict[str, str]:
    """The servers that can't be started here, and what they need."""
    needs = {}
    if not NCHAN_MODULE.exists() or not shutil.which("nginx"):
        needs["nchan"] = "Debian's nginx and libnginx-mod-nchan"
    return needs


def wait_for_port(port: int, timeout_s: float = 10.0) -> None:
    """Wait until a server listens.

    Raises:
        TimeoutError: no server does in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
