"""What browsers make of the types that an `EventSource` has a meaning of its own for."""

from __future__ import annotations

from broadcaster import Publisher
from tests.clients.browsers import Tab
from tests.nodes import running
from tests.wait import until

_FOLLOW = """(url) => {
  window.errors = [];
  window.feed = new EventSource(url);
  feed.onerror = (e) => errors.push([e.data, feed.readyState]);
  feed.addEventListener("stream.live", () => { window.live = true; });
}"""
_OPEN = 1


async def test_an_event_of_type_error_is_one_for_onerror_as_the_documents_say(
    blank: Tab, redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, cors_origins=("*",)) as hub:
        await blank.run(_FOLLOW, f"{hub.url}/v1/inventory/stream")
        await until(lambda: blank.value("window.live === true"))
        await publisher.publish("inventory", type="error", data="of a producer")
        await until(lambda: blank.value("errors.length > 0"))
        assert await blank.value("errors") == [["of a producer", _OPEN]]
