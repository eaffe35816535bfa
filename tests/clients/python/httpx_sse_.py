"""httpx-sse: parses the responses of httpx. It does not come back by itself."""

from __future__ import annotations

# [recipe]
import time
from collections.abc import Callable

import httpx
import httpx_sse


def follow(url: str, take: Callable[[str, str, str], object]) -> None:
    last_id, retry_s = "", 3.0
    timeout = httpx.Timeout(10, read=60)  # above the hub's heartbeat
    with httpx.Client(timeout=timeout) as client:
        while True:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            try:
                with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
                    if source.response.status_code == httpx.codes.NO_CONTENT:
                        return  # the event stream is over
                    source.response.raise_for_status()
                    for event in source.iter_sse():
                        last_id = event.id or last_id
                        if event.retry is not None:
                            retry_s = event.retry / 1000
                        if not event.data:
                            continue  # a block without data is no event
                        take(event.id, event.event, event.data)
                        if event.event == "complete":
                            return
            except httpx.HTTPStatusError as error:
                if error.response.is_client_error:
                    raise
            except httpx.TransportError:
                pass
            time.sleep(retry_s)


# [/recipe]


def plain(url: str, take: Callable[[str, str, str], object]) -> None:
    """As its README has it: one response."""
    with (
        httpx.Client(timeout=60) as client,
        httpx_sse.connect_sse(client, "GET", url) as source,
    ):
        for event in source.iter_sse():
            take(event.id, event.event, event.data)
