"""What a client does as its own documentation shows it."""

from __future__ import annotations

import json

from tests.clients.roster import CHOKES, POLLS, RETURNS, STOPS, WHOLE, Client
from tests.clients.scenarios import LARGE_BYTES
from tests.clients.stage import KEY, ORDER, STOCK, staged
from tests.wait import until

_OFTEN = 3


async def clean_end(client: Client, redis_url: str) -> str:
    """See what a client does when its node drains, after some heartbeats.

    Its handler must not be shown an event that is none: many programs parse each one as JSON.
    """
    async with staged(client, "plain", redis_url) as stage:
        driver = await stage.follow(f"{STOCK}?from=earliest")
        await stage.publish("stock", 1)
        await until(lambda: driver.events)
        response = stage.switch.responses[0]
        size = len(response)
        await until(lambda: len(response) > size + 2)
        stage.switch.target = stage.nodes[1].port
        await stage.nodes[0].node.drain()
        await until(lambda: driver.stopped or len(stage.switch.requests) > 1)
        assert all(event.data for event in driver.seen)
        return STOPS if driver.stopped else RETURNS


async def status_204(client: Client, redis_url: str) -> str:
    """See what a client does when it is told that an event stream is over."""
    async with staged(client, "plain", redis_url) as stage:
        over = await stage.publisher.publish("orders", type="complete", key=KEY, data='"shipped"')
        # One that stops at a clean end would not ask again, so it is told at once.
        path = ORDER if client.clean_end == RETURNS else f"{ORDER}?lastEventId={over}"
        driver = await stage.follow(path)
        await until(lambda: driver.stopped or stage.switch.statuses.count(204) >= _OFTEN)
        return STOPS if driver.stopped else POLLS


async def large(client: Client, redis_url: str) -> str:
    """See whether a client can take an event of a megabyte."""
    async with staged(client, "plain", redis_url) as stage:
        data = json.dumps("x" * LARGE_BYTES)
        await stage.publisher.publish("stock", type="stock-change", key=KEY, data=data)
        driver = await stage.follow(f"{STOCK}?from=earliest")
        await until(lambda: driver.events or len(stage.switch.requests) >= _OFTEN)
        return WHOLE if driver.events else CHOKES
