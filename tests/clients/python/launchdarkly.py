"""launchdarkly-eventsource: comes back by itself, if it is told not to fail."""

from __future__ import annotations

# [recipe]
from collections.abc import Callable

from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ld_eventsource.errors import HTTPStatusError
from urllib3 import Timeout


def follow(url: str, take: Callable[[str, str, str], object]) -> None:
    # Without a timeout, it waits for ever on a connection that the network has dropped.
    options = {"timeout": Timeout(connect=10, read=60)}  # above the hub's heartbeat
    client = SSEClient(
        ConnectStrategy.http(url, urllib3_request_options=options),
        # Without this, a clean end is the end for good.
        error_strategy=ErrorStrategy.always_continue(),
        # It ignores `retry:`, and doubles its wait each time, up to 30 s.
        retry_delay_strategy=RetryDelayStrategy.default(max_delay=5),
    )
    for action in client.all:
        if isinstance(action, Event):
            take(action.last_event_id or "", action.event, action.data)
            if action.event == "complete":
                break
        elif isinstance(action, Fault):
            error = action.error
            if isinstance(error, HTTPStatusError) and error.status < 500:  # 204 is one
                break
    client.close()


# [/recipe]


def plain(url: str, take: Callable[[str, str, str], object]) -> None:
    """As its documentation has it."""
    for event in SSEClient(url).events:
        take(event.last_event_id or "", event.event, event.data)
