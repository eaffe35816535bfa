"""A client that sends a token: `broadcaster tail` of any version, with a header.

It runs with the code of a version that the test chooses, so it uses what all versions have.
"""

from __future__ import annotations

import asyncio
import json
import sys

from broadcaster import EventSource


def trouble(text: str, _: float) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


async def follow(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async for event in EventSource(url, headers=headers, on_change=trouble).events():
        line = {"id": event.id, "type": event.type, "data": json.loads(event.data)}
        print(json.dumps(line), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
