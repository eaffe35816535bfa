"""Runs the node that is measured, with either sink; otherwise as `broadcaster serve` does.

It prints its port, and after SIGTERM which sinks it has used, so that nobody measures a fallback.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys

from broadcaster.serving import listen, node_server, raise_file_limit
from broadcaster.settings import load_settings


def main() -> None:
    """Serve until SIGTERM."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: end with who measures
    sink, redis_url = sys.argv[1:]
    raise_file_limit()
    server = node_server(load_settings(redis_url=redis_url, log_level="warning", drain_s=0.1))
    if sink == "asgi":
        server.config.http = "httptools"  # uvicorn's own protocol, which offers no transport
    (listener,) = listen("127.0.0.1", 0)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    server.run(sockets=[listener])
    print(json.dumps(server.config.app.state.node.meters.opened), flush=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
