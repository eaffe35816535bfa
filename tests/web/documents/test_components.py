"""Names of components, and which of them a document needs."""

from __future__ import annotations

from broadcaster import Channel
from broadcaster.web.documents.components import Components, used
from broadcaster.web.documents.operation import ref


def test_names_are_readable_and_never_the_same() -> None:
    channels = [
        Channel(name="a-b", path="/ab", terminal=frozenset({"c", "…"})),
        Channel(name="a", path="/a", terminal=frozenset({"b-c", "event"})),
        Channel(name="stream", path="/stream", terminal=frozenset({"reset"})),
        Channel(name="Event", path="/event"),
    ]
    found = Components(channels)
    named = {name: (one.event, dict(one.types)) for name, one in found.channels.items()}
    assert named == {
        "a-b": ("ABEvent", {"c": "ABCEvent", "…": "ABEventEvent"}),
        "a": ("AEvent", {"b-c": "ABCEvent2", "event": "AEventEvent"}),
        "stream": ("StreamEvent", {"reset": "StreamResetEvent"}),
        "Event": ("EventEvent", {}),
    }
    assert found.own["stream.reset"] == "StreamReset"
    assert found.found["ChannelName"]["enum"] == ["a-b", "a", "stream", "Event"]


def test_only_what_is_referred_to_is_in_a_document() -> None:
    components = {"schemas": {"A": {"items": [ref("B")]}, "B": ref("A"), "C": {}}, "responses": {}}
    assert used(
        {"x": [ref("A/properties/x"), {"$ref": "#/elsewhere"}, {"$ref": 1}]}, components
    ) == {"schemas": {"A": {"items": [ref("B")]}, "B": ref("A")}}


def test_the_data_of_each_type_has_its_schema() -> None:
    stock, rest = {"type": "integer"}, {"type": "string"}
    channel = Channel(name="shop", path="/shop", terminal=frozenset({"end"}))
    found = Components([channel], {"shop": {"stock": stock, "a/b": {"type": "null"}, "*": rest}})
    assert found.found["ShopStock"] == stock
    assert found.found["ShopAB"] == {"type": "null"}
    assert found.found["ShopOther"] == rest
    named = found.channels["shop"]
    assert named.types == {"a/b": "ShopABEvent", "end": "ShopEndEvent", "stock": "ShopStockEvent"}
    data = found.found["ShopData"]["properties"]
    assert data == {"a/b": ref("ShopAB"), "end": ref("ShopOther"), "stock": ref("ShopStock")}
    contents = {
        type_: found.found[name]["properties"]["data"]["contentSchema"]
        for type_, name in named.types.items()
    }
    assert contents == {
        "a/b": ref("ShopAB"),
        "end": ref("ShopOther"),
        "stock": ref("ShopStock"),
    }
    other = found.found["ShopEvent"]["anyOf"][-1]["properties"]
    assert other["data"]["contentSchema"] == ref("ShopOther")
    kept_out = [{"pattern": "^stream\\."}, {"const": "a/b"}, {"const": "end"}, {"const": "stock"}]
    assert other["event"]["not"] == {"anyOf": kept_out}
