"""How many instructions a node executes: `python -m bench.instructions [--against CHECKOUT]`.

CPU times of two commits can be compared on a quiet machine only. Instructions in user mode can be
counted beside any other work: valgrind runs the node, and a count repeats to a few percent. The
kernel's part, which is most of a `send`, is not in it.

Each row runs a node twice, with little and with much of its work. The difference is what the work
has cost, without the start of Python. What an idle node does in that time is subtracted.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from broadcaster import EmbeddedRedis, connect_sync

_IDLE_BETWEEN_S = (1, 16)
_LITTLE = 50
_MUCH = 350
_CLIENTS = 100
_KEYS = 500
_READY_S, _IDLE_S, _PATIENCE_S = 60.0, 3.0, 600.0  # under valgrind, a node is 30 times as slow
_LIVE, _EVENT = b"stream.live", b"\nid: "
_INVENTORY = "/v1/inventory/stream"


class Hub(NamedTuple):
    """A node that is counted, and its Redis."""

    port: int
    redis: Any

    def connected(self, path: str, after: str = "") -> socket.socket:
        """Return a connection whose client has just become live."""
        client = socket.create_connection(("127.0.0.1", self.port))
        cursor = f"Last-Event-ID: {after}\r\n" if after else ""
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{cursor}\r\n"
        client.sendall(head.encode())
        _until(_LIVE, [client])
        return client

    def publish(self, channel: str, key: str = "") -> str:
        """Add an event, and return its id."""
        fields = {"type": "change", "data": '{"petId":1,"oldStock":3,"newStock":4}', "key": key}
        id_: bytes = self.redis.xadd(channel, fields)
        return id_.decode()


def _until(text: bytes, clients: Iterable[socket.socket]) -> None:
    """Read until each client has got a text."""
    left = dict.fromkeys(clients, b"")
    deadline_s = time.monotonic() + _PATIENCE_S
    while left:
        if time.monotonic() > deadline_s:
            raise click.ClickException(f"{len(left)} clients got no {text!r}")
        for client in select.select(list(left), [], [], 1.0)[0]:
            data = client.recv(65536)
            if not data:
                raise click.ClickException(f"a stream ended without {text!r}: {left[client]!r}")
            left[client] += data
            if text in left[client]:
                del left[client]


def _fan_out(hub: Hub, count: int) -> None:
    clients = [hub.connected(_INVENTORY) for _ in range(_CLIENTS)]
    for _ in range(count):
        hub.publish("inventory")
        _until(_EVENT, clients)


def _by_key(hub: Hub, count: int) -> None:
    clients = [hub.connected(f"/v1/orders/{key}/status/stream") for key in range(_KEYS)]
    for number in range(count):
        hub.publish("orders", str(number % _KEYS))
        _until(_EVENT, [clients[number % _KEYS]])


def _connect(hub: Hub, count: int) -> None:
    for _ in range(count):
        hub.connected(_INVENTORY).close()


def _resume(hub: Hub, count: int) -> None:
    ids = [hub.publish("inventory") for _ in range(2 * _LITTLE)]
    for _ in range(count):
        hub.connected(_INVENTORY, after=ids[0]).close()


def _wait(_: Hub, seconds: int) -> None:
    time.sleep(seconds)


ROWS: dict[str, Callable[[Hub, int], None]] = {
    f"an event, sent to {_CLIENTS} clients": _fan_out,
    f"an event for one of {_KEYS} keys": _by_key,
    "a connection": _connect,
    f"a resume, {2 * _LITTLE - 1} events behind": _resume,
}


class Count(NamedTuple):
    """The instructions of a node from its start to its end, and the seconds that its work took."""

    instructions: int
    seconds: float


def counted(python: Path, work: Callable[[Hub, int], None], count: int) -> Count:
    """Count the instructions of a node.

    Args:
        python: the interpreter in whose environment the node is installed.
        work: what the node does.
        count: how often.
    """
    with EmbeddedRedis() as redis, tempfile.NamedTemporaryFile() as out:
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
        command += [f"--cachegrind-out-file={out.name}", str(python), "-P", "-um", "broadcaster"]
        settings = {"BROADCASTER_REDIS_URL": redis.url, "BROADCASTER_LOG_LEVEL": "warning"}
        node = subprocess.Popen(
            [*command, "serve", "--port", "0"],
            env=os.environ | settings | {"PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert node.stdout is not None
            ports = (re.search(r":(\d+)\b", line) for line in node.stdout)
            port = next((int(found[1]) for found in ports if found), None)
            if port is None:
                raise click.ClickException(f"no node starts with {python}")
            time.sleep(_IDLE_S)  # its first connections to Redis are part of the start
            began_s = time.monotonic()
            work(Hub(port, connect_sync(redis.url)), count)
            took_s = time.monotonic() - began_s
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(_READY_S)
        found = re.search(r"^summary: (\d+)", Path(out.name).read_text(), re.MULTILINE)
        assert found is not None
        return Count(int(found[1]), took_s)


def idle(python: Path) -> float:
    """Return the instructions per second of a node that has nothing to do."""
    little, much = (counted(python, _wait, seconds) for seconds in _IDLE_BETWEEN_S)
    return (much.instructions - little.instructions) / (much.seconds - little.seconds)


def cost(python: Path, work: Callable[[Hub, int], None], idle_rate: float) -> float:
    """Return the instructions that one unit of work costs, beside those of an idle node."""
    little, much = (counted(python, work, count) for count in (_LITTLE, _MUCH))
    beside = idle_rate * (much.seconds - little.seconds)
    return (much.instructions - little.instructions - beside) / (_MUCH - _LITTLE)


@click.command()
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout of another commit, with its .venv, to count beside this one.",
)
def main(against: Path | None) -> None:
    """Count instructions, and print a table. It takes some minutes."""
    if not shutil.which("valgrind"):
        raise click.ClickException("valgrind is missing; Debian's package has its name")
    pythons = [Path(sys.executable)]
    if against:
        pythons.insert(0, against.resolve() / ".venv" / "bin" / "python")
    table = Table("thousands of instructions", *(["before"] if against else []), "now", "÷")
    with ThreadPoolExecutor(len(pythons)) as threads:

        def row(name: str, found: Sequence[float]) -> None:
            ratio = f"{found[-1] / found[0]:.3f}" if against else ""
            table.add_row(name, *(f"{count / 1000:,.0f}" for count in found), ratio)

        idle_rates = list(threads.map(idle, pythons))
        row("a second without work", idle_rates)
        for name, work in ROWS.items():
            row(name, list(threads.map(cost, pythons, repeat(work), idle_rates)))
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
