"""Runs the node that is measured, with either sink. It is otherwise as `broadcaster serve`.

Its arguments are the sink, and settings as JSON. It prints its port. After SIGTERM it prints the
sinks that it used, so that a fallback is noticed.
"""

from __future__ import annotations

import json
import sys

from broadcaster.commands import logs
from broadcaster.commands.host import (
    calm_garbage_collection,
    listen,
    raise_file_limit,
)
from broadcaster.commands.serve import node_server
from broadcaster.settings import load_settings


def main() -> None:
    """Serve until SIGTERM."""
    sink, given = sys.argv[1], json.loads(sys.argv[2])
    raise_file_limit()
    settings = load_settings(**{"log_level": "warning", "drain_s": 0.1} | given)
    logs.set_up(settings.log_level)
    server = node_server(settings)
    if sink == "asgi":
        server.config.http = "httptools"  # uvicorn's own protocol, which offers no transport
    (listener,) = listen("127.0.0.1", 0)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    calm_garbage_collection()
    server.run(sockets=[listener])
    print(json.dumps(server.config.app.state.node.meters.opened), flush=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
