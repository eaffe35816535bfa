"""`/client.js` in real browsers, on a page of another origin, with two nodes behind HAProxy."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from broadcaster import Publisher
from tests.backend.conftest import events_of
from tests.clients.browsers import Tab
from tests.deploy.balancers import Balancer
from tests.deploy.conftest import Balance
from tests.deploy.customer import changes, hers, settings

pytestmark = pytest.mark.parametrize("balance", ["haproxy"], indirect=True)

ORDERS = "/v1/events?channel=orders&from=earliest"

# Follows her orders, and writes down what the handlers are told.
_FOLLOW = """(hub, path, token) => {
  Object.assign(window, { got: [], resets: [], errors: [], lives: 0, tickets: [] });
  const headers = { Authorization: `Bearer ${token}` };
  import(`${hub}/client.js`).then(({ subscribe }) => {
    window.stream = subscribe(hub + path, {
      retryMs: 50,
      ticket: async () => {
        const answer = await fetch(`${hub}/v1/tickets?channel=orders`, { method: "POST", headers });
        const ticket = await answer.json();
        if (ticket.expires_in_s) tickets.push(ticket.expires_in_s);
        return ticket;
      },
      onEvent: ({ id }) => got.push(id),
      onReset: (data) => resets.push(data),
      onLive: () => { lives += 1; },
      onError: ({ message }) => errors.push(message),
    });
  });
}"""
_SHOWN = "[stream?.status, lives, tickets, errors, got.length]"


async def keeps_publishing(publisher: Publisher) -> None:
    """Publish steps of her order, and of another one, until cancelled."""
    while True:
        for key in ("7", "8"):
            await publisher.publish("orders", key=key, data="step")
        await asyncio.sleep(0.02)


async def gone(balancer: Balancer, tab: Tab, how: signal.Signals) -> None:
    """End the node that serves the tab, and wait until the other one does. Start it again."""
    number, lives = await balancer.holder(), await tab.value("lives")
    balancer.nodes[number].process.send_signal(how)
    await tab.sees(f"lives > {lives} && stream.status === 'live'", _SHOWN)
    await balancer.nodes[number].ended()
    await balancer.start_node(number)
    await balancer.used()


async def test_it_goes_on_after_a_drain_a_kill_and_the_end_of_its_tickets(
    balance: Balance, blank: Tab, publisher: Publisher, client: Any
) -> None:
    origin = await blank.value("location.origin")
    short = {"drain_s": 0.2, "ticket_s": 2}  # so that tickets are renewed all the time
    balancer = await balance(changes(origin), mortal=True, **short, **settings(origin))
    publishing = asyncio.create_task(keeps_publishing(publisher))
    try:
        await blank.run(_FOLLOW, f"http://127.0.0.1:{balancer.port}", ORDERS, hers())
        await blank.sees("window.stream?.status === 'live'", "window.errors")
        await gone(balancer, blank, signal.SIGTERM)
        await gone(balancer, blank, signal.SIGKILL)
        await gone(balancer, blank, signal.SIGKILL)
        tickets = await blank.value("tickets.length")
        await blank.sees(f"tickets.length > {tickets + 2}", _SHOWN)
    finally:
        publishing.cancel()
        await asyncio.wait([publishing])
    steps = [str(event.id) for event in await events_of(client, "orders") if event.key == "7"]
    await blank.sees(f"got.at(-1) === '{steps[-1]}'", _SHOWN)
    assert await blank.value("got") == steps  # all of them, in order, and each one once
    assert await blank.value("[resets, errors]") == [[], []]
