"""Browsers and the position of a client that gets no events: where they come back, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from broadcaster import Publisher
from tests.chaos.processes import Node
from tests.clients.browsers import Browser, Tab
from tests.clients.switch import Switch
from tests.docs.terminal import file_of
from tests.nodes import running
from tests.wait import until

INVENTORY = "/v1/inventory/stream"
QUIET = f"{INVENTORY}?petId=a"
SETTINGS: dict[str, Any] = {
    "heartbeat_s": 0.3,
    "retry_min_ms": 50,
    "retry_max_ms": 50,
    "cors_origins": '["*"]',
}
_FOLLOW = """(url) => {
  window.seen = [];
  window.feed = new EventSource(url);
  for (const type of ["message", "stream.at", "stream.live", "stream.reset"])
    feed.addEventListener(type, (e) => seen.push([e.type, e.lastEventId, e.data]));
}"""


class Watching:
    """A tab that follows a stream, and what its page was shown."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab

    async def seen(self, type_: str) -> list[tuple[str, str]]:
        """Return id and data of all events of a type."""
        return [(id_, data) for found, id_, data in await self.tab.value("seen") if found == type_]

    async def until(self, type_: str, id_: str = "") -> None:
        """Wait until the page was shown an event, or any of a type."""
        await until(lambda: self._has(type_, id_))

    async def _has(self, type_: str, id_: str) -> bool:
        return any(not id_ or found == id_ for found, _ in await self.seen(type_))


async def followed(tab: Tab, url: str) -> Watching:
    await tab.run(_FOLLOW, url)
    return Watching(tab)


@asynccontextmanager
async def killable(redis_url: str, log: Path) -> AsyncIterator[Node]:
    """A node in a process of its own."""
    node = Node(log, SETTINGS | {"redis_url": redis_url})
    await node.start()
    try:
        yield node
    finally:
        if node.running:
            await node.kill()
        await node.client.aclose()


def settings() -> dict[str, Any]:
    return SETTINGS | {"cors_origins": ("*",)}


async def test_the_position_of_a_quiet_client_comes_back_after_a_kill_on_another_node(
    blank: Tab, redis_url: str, publisher: Publisher, tmp_path: Path
) -> None:
    async with killable(redis_url, tmp_path / "node.log") as victim, Switch() as switch:
        switch.target = victim.port
        page = await followed(blank, f"http://127.0.0.1:{switch.port}{QUIET}")
        await page.until("stream.live")
        first = str(await publisher.publish("inventory", key="a", data="first"))
        await page.until("message", first)
        others = [await publisher.publish("inventory", key="b", data="other") for _ in range(20)]
        last = str(others[-1])
        await page.until("stream.at", last)
        await publisher.redis.xtrim("inventory", maxlen=1, approximate=False)
        async with running(redis_url, **settings()) as other:
            switch.target = other.port
            await victim.kill()
            second = str(await publisher.publish("inventory", key="a", data="second"))
            await page.until("message", second)
            assert await page.seen("message") == [(first, "first"), (second, "second")]
            assert await page.seen("stream.reset") == []
            assert switch.cursors == ["", last]


async def test_a_client_that_is_cut_off_after_the_first_block_misses_nothing(
    blank: Tab, redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, **settings()) as node, Switch() as switch:
        switch.target = node.port
        begin = str(await publisher.publish("inventory", key="a", data="before"))
        await until(lambda: str(node.node.hub.windows["inventory"].head) == begin)
        origin = f"http://127.0.0.1:{switch.port}"
        await (await followed(blank, origin + QUIET)).until("stream.live", begin)
        await blank.run("() => feed.close()")
        switch.limit = len(switch.responses[0])  # the head, and one block
        switch.requests.clear()
        page = await followed(blank, origin + QUIET)
        await until(lambda: switch.cursors[:2] == ["", begin])  # cut, and back again
        meanwhile = str(await publisher.publish("inventory", key="a", data="meanwhile"))
        switch.limit = None
        await page.until("message", meanwhile)
        assert await page.seen("message") == [(meanwhile, "meanwhile")]
        assert await page.seen("stream.reset") == []


async def test_the_recipe_of_the_documents_gets_over_a_node_that_is_down(
    browser: Browser, blank: Tab, redis_url: str, publisher: Publisher, tmp_path: Path
) -> None:
    async with killable(redis_url, tmp_path / "node.log") as node:
        recipe, _, _ = file_of("docs/clients.md", "follow.js").partition("\nconst feed = ")
        await blank.run(
            f"""(url) => {{
                {recipe}
                window.seen = [];
                window.gaveUp = 0;
                const Native = EventSource;
                window.EventSource = class extends Native {{
                    constructor(url) {{
                        super(url);
                        this.addEventListener("error", () => {{
                            if (this.readyState === Native.CLOSED) gaveUp += 1;
                        }});
                    }}
                }};
                follow(url, ["message", "stream.reset"], (e) => seen.push([e.lastEventId, e.data]));
            }}""",
            f"http://127.0.0.1:{node.port}{QUIET}&from=earliest",
        )
        first = str(await publisher.publish("inventory", key="a", data="1"))
        await blank.sees("seen.length === 1")
        await node.kill()
        if browser.name == "firefox":
            await blank.sees("gaveUp === 1")
        second = str(await publisher.publish("inventory", key="a", data="2"))
        await node.start()
        await blank.sees("seen.length === 2")
        assert await blank.value("seen") == [[first, "1"], [second, "2"]]
