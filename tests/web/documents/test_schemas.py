"""Names of components, and which of them a document needs."""

from __future__ import annotations

from broadcaster import Channel
from broadcaster.web.documents.schemas import Components, used


def test_names_are_readable_and_never_the_same() -> None:
    channels = [
        Channel(name="a-b", path="/ab", terminal=frozenset({"c", "…"})),
        Channel(name="a", path="/a", terminal=frozenset({"b-c", "event"})),
        Channel(name="stream", path="/stream", terminal=frozenset({"reset"})),
        Channel(name="Event", path="/event"),
    ]
    found = Components(channels)
    assert found.types == {
        "a-b": {"c": "ABCEvent", "…": "ABEventEvent"},
        "a": {"b-c": "ABCEvent2", "event": "AEventEvent"},
        "stream": {"reset": "StreamResetEvent"},
        "Event": {},
    }
    assert found.own["stream.reset"] == "StreamReset"
    assert found.events == {
        "a-b": "ABEvent", "a": "AEvent", "stream": "StreamEvent", "Event": "EventEvent",
    }  # fmt: skip
    assert found.found["ChannelName"]["enum"] == ["a-b", "a", "stream", "Event"]


def test_only_what_is_referred_to_is_in_a_document() -> None:
    def ref(name: str) -> dict[str, str]:
        return {"$ref": f"#/components/schemas/{name}"}

    components = {"schemas": {"A": {"items": [ref("B")]}, "B": ref("A"), "C": {}}, "responses": {}}
    assert used({"x": [ref("A"), {"$ref": "#/elsewhere"}, {"$ref": 1}]}, components) == {
        "schemas": {"A": {"items": [ref("B")]}, "B": ref("A")}
    }
