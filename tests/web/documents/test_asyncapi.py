"""The AsyncAPI document: valid, with every channel that the caller may see, and what it sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from broadcaster import Denied, Grant
from broadcaster.core import wire
from broadcaster.core.access.policy import Action, Caller
from tests.web.documents.hubs import HUBS, OFFICIAL, asked, at, document, parts
from tests.web.tokens.issuers import token

PATH = "/asyncapi.json"


@pytest.mark.parametrize("hub", HUBS)
async def test_it_is_what_the_official_schema_allows(hub: str) -> None:
    found = await document(hub, PATH)
    Draft7Validator(json.loads((OFFICIAL / "asyncapi-3.0.json").read_text("utf-8"))).validate(found)
    for reference in parts(found, "$ref"):
        at(found, reference)


async def test_it_is_refused_with_a_wrong_field() -> None:
    found = await document(path=PATH)
    found["operations"]["read"]["action"] = "read"
    schema = json.loads((OFFICIAL / "asyncapi-3.0.json").read_text("utf-8"))
    assert not Draft7Validator(schema).is_valid(found)


def messages(found: Any, channel: str) -> dict[str, Any]:
    """The messages of a channel, by their names; empty is that of other events."""
    references = [one["$ref"] for one in found["channels"][channel]["messages"].values()]
    resolved = [at(found, reference) for reference in references]
    return {one.get("name", ""): one for one in resolved}


async def test_a_channel_has_its_path_its_key_and_its_events() -> None:
    found = await document(path=PATH)
    orders = found["channels"]["orders"]
    assert orders["address"] == "/v1/orders/{key}/status/stream"
    assert list(orders["parameters"]) == ["key"]
    own = {event.type for event in wire.EVENTS}
    assert messages(found, "orders").keys() == {"complete", ""} | own
    reads = found["operations"]["read.orders"]
    assert reads["action"] == "send"
    assert reads["channel"] == {"$ref": "#/channels/orders"}
    assert reads["bindings"]["http"]["method"] == "GET"
    assert reads["bindings"]["http"]["query"]["properties"].keys() >= {
        "from",
        "type",
        "lastEventId",
    }
    user = found["operations"]["read.recommendations"]["bindings"]["http"]["query"]["properties"]
    assert "userId" in user


async def test_a_message_has_the_schema_of_its_data() -> None:
    found = await document("schemas", PATH)
    stock = messages(found, "inventory")["stock-change"]["payload"]
    assert at(found, stock["$ref"])["required"] == ["petId", "newStock"]
    other = messages(found, "orders")[""]["payload"]
    assert at(found, other["$ref"])["required"] == ["petId", "newStock"]
    reset = messages(found, "orders")["stream.reset"]["payload"]["properties"]["reason"]
    assert reset["enum"] == list(wire.ResetReason)


async def test_it_says_how_a_caller_identifies_and_what_it_may_publish() -> None:
    everything = {"subscribe": ["orders", "carts"], "publish": ["orders"]}
    headers = {"authorization": f"Bearer {token(sub='ann', broadcaster=everything)}"}
    async with asked("tokens") as client:
        found = (await client.get(PATH, headers=headers)).json()
    schemes = [at(found, one["$ref"]) for one in found["operations"]["read.carts"]["security"]]
    assert [(one["type"], one.get("in")) for one in schemes] == [
        ("http", None), ("httpApiKey", "cookie"), ("httpApiKey", "query"),
    ]  # fmt: skip
    assert "security" not in found["operations"]["read.news"]
    publish = found["operations"]["publish"]
    assert publish["action"] == "receive"
    channel = at(found, publish["channel"]["$ref"])
    assert channel["address"] == "/v1/channels/{channel}/events"
    assert channel["parameters"]["channel"]["enum"] == ["news", "orders", "carts"]
    assert "publish" not in (await document(path=PATH))["operations"]


async def test_it_names_no_channel_that_the_caller_may_not_see() -> None:
    def no_orders(_: Caller, __: Action, channel: str, ___: frozenset[str], /) -> Grant | Denied:
        return Denied("not yours") if channel == "orders" else Grant()

    found = str(await document("tokens", PATH, authorize=no_orders)).lower()
    assert "carts" in found
    assert "hidden" not in found
    assert "orders" not in found
