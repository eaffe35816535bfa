"""The OpenAPI document: valid, with every route and parameter, and true of what is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import httpx_sse
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from broadcaster import Denied, Grant, MemoryLog, Settings, create_app
from broadcaster.core import wire
from broadcaster.core.access.policy import Action, Caller
from broadcaster.web.dialects import native
from broadcaster.web.documents.operation import PROBLEMS
from broadcaster.web.table import APART, CLIENTS, OPERATORS, TABLE
from tests.nodes import Raw, running
from tests.wait import http_client
from tests.web.documents.hubs import HUBS, at, document, openapi_validator, parts, schema_in


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {(path, m): one for path, ways in document["paths"].items() for m, one in ways.items()}


def ways(*applications: str) -> set[tuple[str, str]]:
    rows = [row for row in TABLE if row.applications & set(applications)]
    return {(row.path, row.methods[0].lower()) for row in rows}


@pytest.mark.parametrize(("hub", "operators"), [*((hub, False) for hub in HUBS), ("tokens", True)])
async def test_it_is_what_the_official_schema_allows(hub: str, operators: bool) -> None:
    found = await document(hub, operators=operators)
    openapi_validator().validate(found)
    for reference in parts(found, "$ref"):
        at(found, reference)
    names = [one["operationId"] for one in operations(found).values()]
    assert len(set(names)) == len(names)


async def test_the_official_schemas_notice_a_wrong_field_and_a_wrong_schema() -> None:
    wrongs: list[dict[str, Any]] = [{"itemSchemas": {}}, {"itemSchema": {"type": "text"}}]
    for wrong in wrongs:
        found = await document()
        found["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"] = (
            wrong
        )
        assert not openapi_validator().is_valid(found)


async def test_it_has_every_route_and_the_path_of_every_channel_that_is_listed() -> None:
    paths = {("/news", "get"), ("/orders/{key}", "get"), ("/carts", "get")}
    found = await document("tokens", authorize=everything)
    assert operations(found).keys() == ways(CLIENTS) | paths
    found = await document("tokens", operators=True)
    assert operations(found).keys() == ways(OPERATORS, APART)


def everything(_: Caller, __: Action, ___: str, ____: frozenset[str], /) -> Grant:
    return Grant()


async def test_it_leaves_out_what_can_not_be_used_here() -> None:
    whole = await document("pet store")
    found = operations(whole)
    assert ("/v1/pets/recommendations/stream", "post") in found
    assert ways(CLIENTS) - found.keys() == {
        ("/v1/channels/{channel}/events", "post"), ("/v1/tickets", "post"),
    }  # fmt: skip
    assert "securitySchemes" not in whole["components"]


async def test_each_parameter_of_an_event_stream_is_there() -> None:
    found = await document("tokens", authorize=everything)
    schemes = found["components"]["securitySchemes"]
    for path, key in {"/v1/events": "key", "/carts": "user", "/orders/{key}": "key"}.items():
        given = [at(found, p["$ref"]) if "$ref" in p else p for p in
                 found["paths"][path]["get"]["parameters"]]  # fmt: skip
        names = {one["name"] for one in given}
        said = {name for one in given for name in re.findall(r"`([\w-]+)`", one["description"])}
        assert names | said | {schemes["ticket"]["name"]} >= native.PARAMS | {key, "Last-Event-ID"}
        assert ("channel" in names) == (path == "/v1/events")
        placed = {one["name"]: (one["in"], one.get("required", False)) for one in given}
        # A grant may name the key, so that only a path needs it.
        assert placed[key] == (("path", True) if "{" in path else ("query", False))


async def test_a_key_that_no_grant_names_is_required() -> None:
    found = await document("pet store")
    places = {
        path: (one["name"], one["in"], one["required"])
        for path, ways in found["paths"].items()
        for one in ways.get("get", {}).get("parameters", ())
        if one.get("name") in ("key", "petId", "userId")
        and not path.startswith("/v1/channels/")
        and path != "/v1/events"
    }
    assert places == {
        "/v1/orders/{key}/status/stream": ("key", "path", True),
        "/v1/inventory/stream": ("petId", "query", False),
        "/v1/pets/recommendations/stream": ("userId", "query", True),
    }


async def test_it_says_how_a_caller_identifies() -> None:
    found = operations(await document("tokens", authorize=everything))
    read: list[Any] = [{"bearer": []}, {"cookie": []}, {"ticket": []}]
    needs = {way: one["security"] for way, one in found.items()}
    assert needs["/carts", "get"] == read
    assert needs["/v1/channels", "get"] == [{}, *read]
    assert needs["/v1/tickets", "post"] == [{"bearer": []}]
    assert needs["/v1/channels/{channel}/events", "post"] == [{"bearer": []}]
    assert needs["/healthz", "get"] == []
    open_ = operations(await document("tokens"))
    assert [way for way, _ in open_ if way.startswith("/news")] == ["/news"]
    assert open_["/news", "get"]["security"] == []
    assert "401" not in open_["/news", "get"]["responses"]
    assert open_["/v1/events", "get"]["security"] == [{}, *read]
    theirs = operations(await document("tokens", operators=True))
    assert theirs["/metrics", "get"]["security"] == [{"operators": []}]


async def test_it_names_no_channel_that_the_caller_may_not_see() -> None:
    def no_orders(_: Caller, __: Action, channel: str, ___: frozenset[str], /) -> Grant | Denied:
        return Denied("not yours") if channel == "orders" else Grant()

    found = str(await document("tokens", authorize=no_orders)).lower()
    assert "carts" in found
    assert "hidden" not in found
    assert "/orders" not in found
    assert "ordersevent" not in found


@pytest.mark.parametrize("operators_token", ["", "a token of operators"])
async def test_operators_routes_are_not_on_the_clients_document(operators_token: str) -> None:
    found = operations(await document(operators_token=operators_token))
    theirs = {way for way in ways(OPERATORS, APART) if way not in ways(CLIENTS)}
    assert theirs
    assert not theirs & found.keys()
    assert "operators" not in str(found)


async def test_the_prefix_of_a_mounted_hub_is_its_server() -> None:
    import httpx

    from tests.wait import http_client

    hub = create_app(Settings(), log=MemoryLog())
    app = Starlette(routes=[Mount("/live", hub)])
    async with http_client(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        found = (await client.get("/live/openapi.json")).json()
    assert found["servers"] == [{"url": "/live"}]
    assert (await document())["servers"] == [{"url": "/"}]


async def test_the_hubs_own_events_are_those_of_the_wire() -> None:
    found = await document()
    schemas = found["components"]["schemas"]
    for event in wire.EVENTS:
        name = event.type.title().replace(".", "")
        assert schemas[name]["properties"]["event"]["const"] == event.type
        data = schemas[name]["properties"]["data"]["contentSchema"]
        assert list(data["properties"]) == [field.name for field in event.fields]
        assert data["required"] == [field.name for field in event.fields if field.required]
        assert {"$ref": f"#/components/schemas/{name}"} in schemas["InventoryEvent"]["anyOf"]


async def test_the_data_of_an_event_has_the_schema_of_its_type() -> None:
    found = await document("schemas")
    item = found["paths"]["/stock"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    kinds = [at(found, one["$ref"]) for one in at(found, item["itemSchema"]["$ref"])["anyOf"][:2]]
    assert [kind["properties"]["event"]["const"] for kind in kinds] == ["a b", "stock-change"]
    for kind in kinds:
        checked = schema_in(found, kind["properties"]["data"]["contentSchema"])
        assert checked.is_valid({"petId": "7", "newStock": 4})
        assert not checked.is_valid({"petId": "", "newStock": 4})
        assert not checked.is_valid({"petId": "7", "newStock": -1})


def blocks(body: bytes) -> Iterator[dict[str, Any]]:
    """The events of a body, as the standard's parser gives them."""
    headers = {"content-type": "text/event-stream"}
    for event in httpx_sse.EventSource(
        httpx.Response(200, headers=headers, content=body)
    ).iter_sse():
        named = {} if event.event == "message" else {"event": event.event}
        yield {"data": event.data, "id": event.id, **named}


@pytest.mark.server
async def test_what_is_sent_is_what_the_document_says() -> None:
    log = MemoryLog()
    for type_ in ("paid", "message", "complete"):
        log.add("orders", type=type_, key="7", data={"n": 1})
    async with running("", log=log) as hub, http_client(base_url=hub.url) as http:
        found = (await http.get("/openapi.json")).json()
        path = "/v1/orders/7/status/stream"
        whole = await (await Raw.get(hub.port, path)).rest()
        reset = await Raw.get(hub.port, path, "Last-Event-ID: rubbish\r\n")
        sent = [*blocks(whole), *blocks(await reset.rest())]
        live = await Raw.get(hub.port, "/v1/inventory/stream")
        sent += blocks(await live.until(b'data: {"replayed":0}\n\n'))
    names = [event.get("event") for event in sent]
    own = {"stream.at", "stream.live", "stream.reset", "stream.state"}
    assert {"paid", None, "complete", *own} == set(names)
    stream = found["paths"]["/v1/orders/{key}/status/stream"]["get"]["responses"]["200"]
    schema = stream["content"]["text/event-stream"]["itemSchema"]
    for event in sent:
        schema_in(found, schema).validate(event)
        if event.get("event", "").startswith("stream."):
            name = event["event"].title().replace(".", "")
            data = found["components"]["schemas"][name]["properties"]["data"]["contentSchema"]
            schema_in(found, data).validate(json.loads(event["data"]))
    for wrong in ({}, {"data": 1}, {"event": "stream.none", "data": "x"}):
        assert not schema_in(found, schema).is_valid(wrong)


async def test_the_answer_to_the_beginning_of_a_run_is_what_the_document_says(
    redis_url: str,
) -> None:
    path = "/v1/pets/recommendations/stream"
    async with running(redis_url) as hub, http_client(base_url=hub.url) as http:
        found = (await http.get("/openapi.json")).json()
        way = found["paths"][path]["post"]
        begun = [
            await http.post(f"{path}?userId=user-456", json={"mood": "sad"}),
            await http.post(path, json={"userId": "user-456"}),
        ]
        refused = [
            (await http.post(path, json=[])).status_code,
            (await http.post(path, content=b"{}")).status_code,
        ]
    for answer in begun:
        said = way["responses"][str(answer.status_code)]
        schema_in(found, said["content"]["application/json"]["schema"]).validate(answer.json())
        assert answer.headers["location"] == answer.json()["url"]
        assert said["headers"].keys() == {"Location"}
    assert refused == [400, 415]
    assert {"400", "415"} < way["responses"].keys()
    others = [ways for own, ways in found["paths"].items() if own != path]
    assert not [one for ways in others for one in ways.values() if "begin" in one["operationId"]]


@pytest.mark.server
async def test_a_page_of_the_log_is_what_the_document_says() -> None:
    log = MemoryLog()
    log.add("inventory", type="stock-change", key="7", data={"n": 1})
    log.add("inventory", data="no JSON")
    async with running("", log=log) as hub, http_client(base_url=hub.url) as http:
        found = (await http.get("/openapi.json")).json()
        ways = found["paths"]["/v1/channels/{channel}/events"]["get"]
        schema = ways["responses"]["200"]["content"]["application/json"]["schema"]
        path = "/v1/channels/inventory/events"
        for query in ("from=earliest", "after=rubbish", ""):
            page = (await http.get(f"{path}?{query}")).json()
            schema_in(found, schema).validate(page)
        given = [at(found, p["$ref"]) if "$ref" in p else p for p in ways["parameters"]]
    own = {"after", "limit", "wait", "key", "channel", "type", "from"}
    assert {one["name"] for one in given} == own
    assert not schema_in(found, schema).is_valid({**page, "more": None})


async def test_each_problem_has_a_description() -> None:
    named = {status for row in TABLE for status in row.operation.problems}
    assert named <= PROBLEMS.keys()
