"""Two applications: what is of operators has a port of its own, or no details."""

from __future__ import annotations

from socket import gethostname
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Router

from broadcaster import Publisher
from broadcaster import __version__ as VERSION
from broadcaster.app import create_app
from broadcaster.backend.memory import MemoryLog
from broadcaster.backend.nodes import ANNOUNCE_S
from broadcaster.settings import load_settings
from tests.nodes import Raw, Running, running
from tests.wait import http_client, until

pytestmark = pytest.mark.server

STREAM = "/v1/inventory/stream"
OPERATORS = ["/metrics", "/v1/nodes", "/v1/health"]
CLIENTS = [STREAM, "/v1/events?channel=inventory", "/v1/channels", "/v1/channels/inventory"]
BOTH = ["/healthz", "/readyz"]
PAGE = ["/", "/page/page.js"]


async def status(url: str) -> int:
    async with http_client() as http, http.stream("GET", url) as answer:
        return answer.status_code


async def test_with_two_ports_each_has_its_own_routes(redis_url: str) -> None:
    async with running(redis_url, two_ports=True) as hub:
        assert {
            path: await status(hub.url + path) for path in OPERATORS + CLIENTS + BOTH + PAGE
        } == {
            **dict.fromkeys(OPERATORS, 404),
            **dict.fromkeys(CLIENTS + BOTH + PAGE, 200),
        }
        url = hub.operators_url
        assert {path: await status(url + path) for path in OPERATORS + CLIENTS + BOTH + PAGE} == {
            **dict.fromkeys(OPERATORS + BOTH + PAGE, 200),
            **dict.fromkeys(CLIENTS, 404),
        }


async def test_with_two_ports_streams_take_the_short_way(redis_url: str) -> None:
    async with running(redis_url, two_ports=True) as hub:
        await (await Raw.get(hub.port, STREAM)).until(b"stream.live")
        assert hub.node.meters.opened["transport"] == 1


async def test_a_clients_headers_do_not_choose_the_application(redis_url: str) -> None:
    async with running(redis_url, two_ports=True) as hub, http_client() as http:
        port = hub.operators_url.rpartition(":")[2]
        headers = {"host": f"127.0.0.1:{port}", "x-forwarded-port": port, "x-forwarded-host": "a"}
        assert (await http.get(f"{hub.url}/metrics", headers=headers)).status_code == 404


async def told(hub: Running, url: str) -> dict[str, str]:
    """All bodies that a port serves without authentication."""
    async with http_client() as http:
        return {path: (await http.get(url + path)).text for path in (*OPERATORS, *BOTH)}


REFUSED = "redis://someone:secret@127.0.0.1:1/0"


async def test_on_one_port_nothing_names_hosts_addresses_versions_or_errors(
    redis_url: str, client: Any
) -> None:
    # The line of a node of an older version, which knows nothing of public names.
    await client.hset("broadcaster.nodes", f"{gethostname()}:9/0", older_line())
    async with running(redis_url) as hub:
        said = await told(hub, hub.url)
        assert '"status":"ready"' in said["/v1/health"]
        assert said["/v1/nodes"].count('"clients"') == 2
    async with running(REFUSED, ready=False) as hub:
        await until(lambda: any("111" in problem for problem in hub.node.problems()))
        said_then = await told(hub, hub.url)
        assert await status(f"{hub.url}/readyz") == 503
        assert await status(f"{hub.url}/v1/health") == 503
    assert "inventory: the window is not loaded" in said_then["/readyz"]
    assert "inventory: can't be read" in said_then["/v1/health"]
    assert "inventory: can't be read" in said_then["/v1/nodes"]
    for text in (*said.values(), *said_then.values()):
        for secret in (gethostname(), "127.0.0.1", "someone", "Error", "connecting", VERSION):
            assert secret not in text, secret


def older_line() -> str:
    problem = "orders: Error 111 connecting to 127.0.0.1:1."
    return f'{{"clients": 2, "version": "{VERSION}", "problems": ["{problem}"], "at_ms": 9e15}}'


async def test_on_one_port_nothing_names_a_channel_that_is_not_listed() -> None:
    channels = {"news": {"path": "/news"}, "plans": {"path": "/plans", "listed": False}}
    made: dict[str, Any] = {"log": MemoryLog(), "channels": channels}
    async with running("", **made) as hub:
        said = await told(hub, hub.url)
    assert "plans" not in "".join(said.values())
    for path in ("/metrics", "/v1/health"):
        assert "news" in said[path]
    async with running("", two_ports=True, **made) as hub:
        for_operators = await told(hub, hub.operators_url)
    for path in ("/metrics", "/v1/health"):
        assert "plans" in for_operators[path]


async def test_operators_get_all_details(redis_url: str, publisher: Publisher, client: Any) -> None:
    id_ = await publisher.publish("inventory", data=1)
    async with running(redis_url, two_ports=True) as hub, http_client() as http:
        await until(lambda: len(hub.node.hub.windows["inventory"]) == 1)
        health = (await http.get(f"{hub.operators_url}/v1/health")).json()
        nodes = (await http.get(f"{hub.operators_url}/v1/nodes")).json()["nodes"]
        figures = (await http.get(f"{hub.operators_url}/metrics")).text
    assert (health["status"], health["reasons"], health["version"]) == ("ready", [], VERSION)
    assert health["redis"] == redis_url
    assert health["listening"]["host"] == "127.0.0.1"
    stream = health["streams"]["inventory"]
    assert (stream["newest"], stream["events"], stream["problem"]) == (str(id_), 1, "")
    assert stream["loaded"]
    assert stream["readable"]
    assert list(nodes) == [health["node"]]
    assert gethostname() in health["node"]
    assert nodes[health["node"]].keys() == {"clients", "lag_s", "problems", "version"}
    assert f'version="{VERSION}"' in figures
    async with running(REFUSED, ready=False, two_ports=True) as hub, http_client() as http:
        await until(lambda: any("111" in problem for problem in hub.node.problems()))
        answer = await http.get(f"{hub.operators_url}/v1/health")
        public = (await http.get(f"{hub.operators_url}/readyz")).text
    assert answer.status_code == 503
    assert "127.0.0.1" in answer.json()["streams"]["inventory"]["problem"]
    assert "secret" not in answer.text
    assert "127.0.0.1" not in public


async def test_a_public_name_is_the_same_at_each_node(redis_url: str, client: Any) -> None:
    async with (
        running(redis_url, node_name="a") as first,
        running(redis_url, port=7999) as second,
        http_client() as http,
    ):
        await until(lambda: client.hlen("broadcaster.nodes"), 4 * ANNOUNCE_S)

        async def names(hub: Running) -> set[str]:
            return set((await http.get(f"{hub.url}/v1/nodes")).json()["nodes"])

        async def agree() -> set[str]:
            seen = await names(first)
            return seen if len(seen) == 2 and seen == await names(second) else set()

        agreed = await until(agree)
    assert "a/0" in agreed
    assert all(name == "a/0" or name.startswith("node-") for name in agreed)


@pytest.mark.parametrize("path", OPERATORS)
async def test_operators_application_works_wherever_it_is_served(redis_url: str, path: str) -> None:
    hub = create_app(load_settings(redis_url=redis_url, metrics_port=9000))
    app = Router(routes=[Mount("/ops", hub.operators)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        assert (await http.get("/ops" + path)).status_code in (200, 503)
        assert (await http.get("/ops/v1/channels")).status_code == 404
        assert (await http.post("/ops" + path)).status_code == 405
    transport = httpx.ASGITransport(hub)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        assert (await http.get(path)).status_code == 404
    await hub.state.node.aclose()


@pytest.mark.parametrize("two_ports", [False, True])
async def test_with_a_token_operators_routes_need_it_and_have_details(two_ports: bool) -> None:
    async with (
        running(
            "", log=MemoryLog(), two_ports=two_ports, operators_token="of the operators"
        ) as hub,
        http_client(base_url=hub.operators_url or hub.url) as client,
    ):
        for path in OPERATORS:
            for header in ("", "Bearer", "Bearer of the clients", "Basic of the operators", "é"):
                headers = [(b"authorization", header.encode())] if header else []
                answer = await client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
            allowed = {"authorization": "bearer of the operators"}
            assert (await client.get(path, headers=allowed)).status_code == 200
        assert VERSION in (await client.get("/v1/nodes", headers=allowed)).text
        for path in BOTH:
            assert (await client.get(path)).status_code == 200
        await (await Raw.get(hub.port, STREAM)).until(b"stream.live")
