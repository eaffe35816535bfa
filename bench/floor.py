"""The floor: what sending the same bytes costs if nothing else is done. A loop of `socket.send`.

It speaks just enough HTTP for the clients of `bench.load`, prints its port, and takes commands:

    {"rate": 10, "seconds": 2, "bytes": 180}      send events to all, as the hub frames them
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from typing import Any

from bench.events import TYPE, paced, stamped
from broadcaster.commands.host import raise_file_limit
from broadcaster.core import sse
from broadcaster.core.event import Event, EventId
from broadcaster.web.sink import chunked

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def serve() -> None:
    """Accept clients and obey, until the commands end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    clients: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                client = _accept(listener)
                clients[client.fileno()] = client
            elif command := os.read(0, 65536):
                print(json.dumps(_send_all(clients, **json.loads(command))), flush=True)
            else:
                return


def _accept(listener: socket.socket) -> socket.socket:
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.recv(65536)
    client.sendall(_HEAD + chunked(sse.live(b"0-0", 0)))
    client.setblocking(False)
    return client


def _send_all(clients: dict[int, socket.socket], **command: Any) -> dict[str, Any]:
    sends = [client.send for client in clients.values()]
    events = 0
    for due in paced(command["rate"], command["seconds"]):
        now = EventId(time.time_ns() // 1_000_000, 0)
        batch = [Event(now, TYPE, "", stamped(command["bytes"])) for _ in range(due)]
        data = chunked(b"".join(sse.encode(event).wire for event in batch))
        for send in sends:
            send(data)
        events += due
    return {"events": events}


if __name__ == "__main__":
    raise_file_limit()
    serve()
