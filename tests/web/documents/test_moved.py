"""A JSON Schema that lies in a document refers to its own parts there."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.web.documents.moved import moved

PLACE = "#/components/schemas/Order"


@pytest.mark.parametrize(
    ("schema", "there"),
    [
        (True, True),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema"}, {}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://a.example/x"},
         {"$schema": "http://json-schema.org/draft-07/schema#"}),
        ({"items": {"$ref": "#"}}, {"items": {"$ref": PLACE}}),
        ({"anyOf": [{"$ref": "#/$defs/a"}]}, {"anyOf": [{"$ref": PLACE + "/$defs/a"}]}),
        ({"$defs": {"a": {"$ref": "#/x"}}}, {"$defs": {"a": {"$ref": PLACE + "/x"}}}),
        ({"$ref": "#name"}, {"$ref": "#name"}),
        ({"$ref": "https://json-schema.org/x#/y"}, {"$ref": "https://json-schema.org/x#/y"}),
        # Values, and names of properties, are no references.
        ({"const": {"$ref": "#"}}, {"const": {"$ref": "#"}}),
        ({"enum": [{"$ref": "#/a"}]}, {"enum": [{"$ref": "#/a"}]}),
        ({"properties": {"$ref": {"$ref": "#"}, "const": {"$ref": "#"}}},
         {"properties": {"$ref": {"$ref": PLACE}, "const": {"$ref": PLACE}}}),
        ({"properties": {"$id": {"type": "string"}, "x": {"$ref": "#"}}},
         {"properties": {"$id": {"type": "string"}, "x": {"$ref": PLACE}}}),
        # In a part with an id, # is that part.
        ({"$defs": {"a": {"$id": "a", "$ref": "#"}}}, {"$defs": {"a": {"$id": "a", "$ref": "#"}}}),
    ],
)  # fmt: skip
def test_a_schema_at_another_place(schema: Any, there: Any) -> None:
    assert moved(schema, PLACE) == there
