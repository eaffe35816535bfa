"""Paths of event streams, whatever is between a client and the hub."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from broadcaster import Publisher
from broadcaster.app import create_app
from broadcaster.settings import load_settings
from tests.nodes import Raw, running, told
from tests.wait import http_client
from tests.web.test_mounted import SERVERS, served, serving

ORDER = "/v1/orders/{}/status/stream"


async def order(port: int, key: str, prefix: str = "") -> list[str]:
    """Return the data of the event stream of an order that is over. The key is sent as it is."""
    stream = await Raw.get(port, prefix + ORDER.format(key))
    await stream.rest()
    assert stream.head.startswith(b"HTTP/1.1 200"), stream.head
    return told(stream.body)


async def publish_all(publisher: Publisher) -> None:
    for key in ("eu/7", "eu%2F7", "7", "é"):
        await publisher.publish("orders", type="complete", key=key, data=f"of {key}")


@pytest.mark.parametrize("sink", ["transport", "asgi"])
async def test_a_key_may_have_a_slash(redis_url: str, publisher: Publisher, sink: str) -> None:
    await publish_all(publisher)
    async with running(redis_url, sink=sink) as hub:
        for sent, key in (
            ("eu%2F7", "eu/7"), ("eu%2f7", "eu/7"), ("eu%252F7", "eu%2F7"), ("%37", "7"),
            ("%C3%A9", "é"),
        ):  # fmt: skip
            assert await order(hub.port, sent) == [f"of {key}"]


@pytest.mark.parametrize(
    "path",
    [
        ORDER.format("eu/7"),
        ORDER.format(""),
        ORDER.format("%FF"),
        ORDER.format("7").replace("/status", "%2Fstatus"),
        "/v1%2Finventory%2Fstream",
        "/v1/inventory/stream/x",
        "//v1/inventory/stream",
    ],
)
async def test_paths_that_are_not_of_a_stream(redis_url: str, path: str) -> None:
    async with running(redis_url) as hub, http_client() as browser:
        answer = await browser.get(hub.url + path)
        assert (answer.status_code, answer.json()["status"]) == (404, 404)
        assert not hub.node.meters.opened.total()


async def test_equal_notations_are_one_path_and_a_slash_too_many_does_no_harm(
    redis_url: str,
) -> None:
    async with running(redis_url) as hub:
        for path in (
            "/v1/%69nventory/stream",
            "/v1/inventory/stream/",
            "/v1/%65vents?channel=orders",
        ):
            stream = await Raw.get(hub.port, path)
            await stream.until(b"stream.live")


async def test_a_redirect_never_names_another_scheme(redis_url: str) -> None:
    async with running(redis_url) as hub, http_client() as browser:
        for path in ("/v1/channels/", "/readyz/", "/v1/nodes/"):
            assert (await browser.get(hub.url + path)).status_code == 404


async def test_under_a_mount(redis_url: str, publisher: Publisher) -> None:
    await publish_all(publisher)
    hub = create_app(load_settings(redis_url=redis_url))
    mounted = Starlette(routes=[Mount("/live/{tenant}", hub)])
    async with served(mounted) as port:
        assert await order(port, "eu%2F7", "/live/a") == ["of eu/7"]
        assert await order(port, "7", "/l%69ve/a") == ["of 7"]
    await hub.state.node.aclose()


@pytest.mark.parametrize("server", SERVERS)
async def test_through_plain_servers(
    server: str, redis_url: str, publisher: Publisher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await publish_all(publisher)
    async with serving(server, redis_url, tmp_path_factory.mktemp("app")) as (_, port):
        assert await order(port, "eu%2F7") == ["of eu/7"]
