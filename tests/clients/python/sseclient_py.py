"""sseclient-py: parses the responses of any HTTP client. It does not come back by itself."""

from __future__ import annotations

# [recipe]
import time
from collections.abc import Callable

import requests
import sseclient


def follow(url: str, take: Callable[[str, str, str], object]) -> None:
    last_id, retry_s = "", 3.0
    while True:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
                if response.status_code == requests.codes.no_content:
                    return  # the event stream is over
                response.raise_for_status()
                # `chunk_size=None`: each piece as it comes. The default is 128 bytes.
                pieces = response.iter_content(chunk_size=None)
                for event in sseclient.SSEClient(pieces).events():
                    last_id = event.id or last_id
                    if event.retry is not None:
                        retry_s = int(event.retry) / 1000
                    take(last_id, event.event, event.data)
                    if event.event == "complete":
                        return
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code < 500:
                raise
        except requests.RequestException:
            pass
        time.sleep(retry_s)


# [/recipe]


def plain(url: str, take: Callable[[str, str, str], object]) -> None:
    """As its README has it: one response."""
    response = requests.get(url, headers={"Accept": "text/event-stream"}, stream=True, timeout=60)
    for event in sseclient.SSEClient(response).events():  # type: ignore[arg-type]
        take(event.id or "", event.event, event.data)
