"""The schemas of events that are published over HTTP, with a real server and a real Redis."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broadcaster.web.publishing import checking
from tests.nodes import running
from tests.wait import http_client
from tests.web.publishing.test_endpoint import Hub, bearing
from tests.web.publishing.test_lines import NDJSON, body_of, said
from tests.web.tokens.issuers import SECRET

STOCK = {"required": ["stock"], "properties": {"stock": {"type": "integer", "minimum": 0}}}


@pytest.fixture
async def hub(tmp_path: Path, redis_url: str, client: Any) -> AsyncIterator[Hub]:
    """A hub whose events of the type `stock` have a schema."""
    path = tmp_path / "stock.json"
    path.write_text(json.dumps(STOCK))
    channels = {"pets": {"path": "/pets", "schemas": {"stock": str(path)}}}
    settings: dict[str, Any] = {"channels": channels, "token_secrets": [SECRET]}
    async with (
        running(redis_url, **settings) as node,
        http_client(base_url=node.url) as http,
    ):
        yield Hub(node, http, client)


def event(data: str, type_: str = "stock") -> str:
    return f'{{"type":"{type_}","data":{data}}}'


async def test_an_event_that_does_not_fit_is_refused_and_the_answer_says_where(hub: Hub) -> None:
    headers = bearing("pets")
    assert (await hub.post(event('{"stock":1.0,"kg":1.10}'), headers)).status_code == 200
    assert (await hub.post(event("1.10", "other"), headers)).status_code == 200
    answer = await hub.post(event('{"stock":-1}'), headers)
    problem = answer.json()
    assert (answer.status_code, problem["pointer"], problem["event"]) == (422, "/stock", 1)
    assert problem["detail"] == 'the data at /stock: it does not fit "minimum": 0'
    assert answer.headers["content-type"] == "application/problem+json"
    stored = [(type_, data) for _, type_, _, data in await hub.stored()]
    assert stored == [("stock", '{"stock":1.0,"kg":1.10}'), ("other", "1.10")]


async def test_nothing_of_an_array_is_published_if_one_does_not_fit(hub: Hub) -> None:
    events = [event('{"stock":1}'), event("{}"), event('{"stock":1}')]
    answer = await hub.post(f"[{','.join(events)}]", bearing("pets"))
    problem = answer.json()
    assert (answer.status_code, problem["pointer"], problem["event"]) == (422, "", 2)
    assert problem["detail"] == 'event 2: the data: "stock" is missing'
    assert await hub.stored() == []


async def test_the_lines_before_one_that_does_not_fit_are_published(hub: Hub) -> None:
    body = body_of(event('{"stock":1}'), event('{"stock":1.5}'), event('{"stock":1}'))
    answer = await hub.post(body, bearing("pets") | NDJSON)
    first, last = said(answer.text)
    assert (answer.status_code, first["line"]) == (422, 1)
    assert (last["line"], last["pointer"], last["status"]) == (2, "/stock", 422)
    assert [data for *_, data in await hub.stored()] == ['{"stock":1}']


async def test_a_cloud_event_has_the_schema_of_its_type(hub: Hub) -> None:
    cloud = {
        "specversion": "1.0",
        "id": "1",
        "source": "/a",
        "type": "stock",
        "data": {"stock": -1},
    }
    headers = bearing("pets") | {"content-type": "application/cloudevents+json"}
    answer = await hub.post(cloud, headers)
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/stock")


async def test_large_data_is_checked_while_others_are_served(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set[str]()
    schemas = hub.running.node.schemas
    check = schemas.check

    def noted(*event: str) -> None:
        threads.add(threading.current_thread().name)
        check(*event)

    monkeypatch.setattr(schemas, "check", noted)
    large = json.dumps({"stock": 1, "text": "x" * checking._LARGE})
    assert (await hub.post(event(large), bearing("pets"))).status_code == 200
    assert threads == {"schemas_0"}
    refused = await hub.post(event(large.replace("1", "-1", 1)), bearing("pets"))
    assert refused.json()["pointer"] == "/stock"
    assert (await hub.post(event('{"stock":1}'), bearing("pets"))).status_code == 200
    assert threads == {"schemas_0", threading.main_thread().name}
