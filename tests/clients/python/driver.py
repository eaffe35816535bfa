"""`python -m … CLIENT MODE URL` follows an event stream and writes a line of JSON per event."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def say(**line: Any) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def take(id_: str | None, type_: str | None, data: str) -> None:
    """Take an event, as a program of one's own would."""
    say(id=id_ or "", type=type_ or "message", data=data)


def main() -> None:
    """Follow, until the client says that it is over."""
    client, mode, url = sys.argv[1:]
    module = importlib.import_module(f"tests.clients.python.{client}")
    try:
        (module.plain if mode == "plain" else module.follow)(url, take)
    except Exception as error:
        say(trouble=repr(error))


if __name__ == "__main__":
    main()
