"""The page of htmx 4 in our documents, in three browsers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from broadcaster import Publisher
from tests.clients import package
from tests.clients.browsers import Tab
from tests.clients.switch import Switch
from tests.docs.terminal import file_of
from tests.nodes import Running, running

_SCRIPTS = ("htmx.min.js", "ext/hx-sse.min.js")
# htmx begins by itself once a script ends. Asked as well, it would open two streams.
_PAGE = """(element, scripts) => {
  document.body.innerHTML = element;
  for (const source of scripts) {
    const script = document.createElement("script");
    script.textContent = source;
    document.body.append(script);
  }
}"""
_STREAM = "/v1/inventory/stream"


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, cors_origins=("*",)) as made:
        yield made


async def test_htmx_shows_a_stock_and_goes_on_where_it_was(
    hub: Running, blank: Tab, publisher: Publisher
) -> None:
    place = package.installed() / "node_modules" / "htmx.org" / "dist"
    scripts = [(place / name).read_text("utf-8") for name in _SCRIPTS]
    found = re.search(r"<p .*</p>", file_of("docs/clients.md", "htmx.html"), re.DOTALL)
    assert found
    seen = "document.querySelector('p').textContent === '{}'".format
    async with Switch() as switch:
        switch.target = hub.port
        await blank.open(f"http://127.0.0.1:{switch.port}/metrics")
        await blank.run(_PAGE, found[0], scripts)
        await blank.sees("document.querySelector('p')._htmx?.sse?.lastEventId !== undefined")
        for stock in (4, 3):
            id_ = await publisher.publish(
                "inventory", type="stock-change", key="7", data={"newStock": stock}
            )
            await blank.sees(seen(stock))
            if stock == 4:
                first = str(id_)
                switch.cut()
        asked = zip(switch.requests, switch.cursors, strict=True)
        assert [cursor for request, cursor in asked if _STREAM in request] == ["", first]
