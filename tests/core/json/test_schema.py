"""JSON Schemas: what fits one, what does not and where, and which schemas can't be used."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from broadcaster.core.json.schema import Schema
from broadcaster.errors import InvalidEventError

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
STOCK = {
    "type": "object",
    "required": ["pet", "stock"],
    "properties": {"pet": {"type": "string"}, "stock": {"type": "integer", "minimum": 0}},
    "patternProperties": {"^x-": True},
    "additionalProperties": False,
}


def schema(document: Any) -> Schema:
    return Schema(document if isinstance(document, bytes) else json.dumps(document).encode())


def misfit(document: Any, text: str) -> tuple[str | None, str] | None:
    """Return where a text does not fit, and why; None if it does."""
    try:
        schema(document).check(text)
    except InvalidEventError as error:
        return error.pointer, str(error)
    return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"pet":"a","stock":0,"x-a":1}', None),
        ('{"pet":"a","stock":-1}', ("/stock", 'the data at /stock: it does not fit "minimum": 0')),
        ('{"pet":1}', ("", 'the data: "stock" is missing')),
        ('{"pet":"a","stock":1,"x-a":1,"b/~":1}', ("", 'the data: there may be no "b/~"')),
        ("[]", ("", 'the data: it does not fit "type": "object"')),
        ("hello", ("", "the data is not JSON, and its type has a schema: Expecting value: line 1 "
                       "column 1 (char 0)")),
        ("[NaN]", ("", "the data is not JSON, and its type has a schema: NaN is no value of JSON: "
                       "line 1 column 1 (char 0)")),
        ("[" * 100_000, ("", "the data is nested too deep")),
        ("[1e99999999999999999999]", ("", "a number in the data has too large an exponent")),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_the_error_says_where(
    text: str, expected: tuple[str, str] | None
) -> None:
    assert misfit(STOCK, text) == expected


def test_a_pointer_names_each_step_of_the_way() -> None:
    found = misfit({"properties": {"a/b~c": {"items": {"type": "null"}}}}, '{"a/b~c":[null,1]}')
    assert found is not None
    assert found[0] == "/a~1b~0c/1"


def test_an_error_has_no_more_than_a_part_of_a_long_schema() -> None:
    found = misfit({"enum": ["x" * 10_000]}, "1")
    assert found is not None
    assert len(found[1]) < 300
    assert found[1].endswith("x…")


@pytest.mark.parametrize(
    ("document", "fits", "does_not"),
    [
        (b'{"multipleOf": 0.1}', ["0.3", "1e9", "1", "1e50", '"0.35"'], ["0.35", "1e99999"]),
        (b'{"minimum": 12345678901234567890.5}', ["12345678901234567890.6", "1e999999"],
         ["12345678901234567890.4", "12345678901234567890"]),
        (b'{"const": 9007199254740993}', ["9007199254740993", "9007199254740993.0"],
         ["9007199254740992"]),
        (b'{"type": "integer"}', ["1", "1.0", "1e400", "1" * 5_000], ["1.5", "true", '"1"']),
        (b'{"type": "number"}', ["1", "1.5", "1e400"], ["false", '"1"']),
        ({"$schema": DRAFT_4, "type": "integer"}, ["1", "1" * 400], ["1.0"]),
        (b'{"enum": [1.10]}', ["1.1", "1.100"], ["1.11", "true"]),
        ({"uniqueItems": True}, ['[1,true,"1",null,[1],[true],{"a":1},{"a":2}]', "1"],
         ["[1,1.0]", '[{"a":[1]},{"a":[1.00]}]', '["a","a"]']),
        ({"uniqueItems": False}, ["[1,1]"], []),
    ],
)  # fmt: skip
def test_values_are_compared_as_they_are_written(
    document: Any, fits: list[str], does_not: list[str]
) -> None:
    checked = schema(document)
    for text in fits:
        checked.check(text)
    for text in does_not:
        with pytest.raises(InvalidEventError):
            checked.check(text)


@pytest.mark.parametrize(
    ("document", "fits", "does_not"),
    [
        (False, None, "1"),
        ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, "[1.0]", "[1.5]"),
        ({"$schema": DRAFT_2020, "properties": {"c": {"$ref": "#"}, "n": {"type": "integer"}}},
         '{"c":{"n":1.0}}', '{"c":{"n":1.5}}'),
        ({"$schema": DRAFT_7, "items": [{"type": "null"}]}, "[null, 1]", "[1]"),
        ({"$id": "https://a.example/a", "$defs": {"b": {"$id": "b", "type": "integer"}},
          "properties": {"x": {"$ref": "b"}}}, '{"x":1.0}', '{"x":1.5}'),
        ({"$ref": DRAFT_2020}, '{"type":"string"}', '{"type":"strin"}'),
        ({"const": {"$ref": "no-reference"}}, '{"$ref": "no-reference"}', "1"),
        ({"format": "email", "type": "string"}, '"anything"', "1"),
    ],
)  # fmt: skip
def test_schemas_may_refer_to_themselves_and_to_the_standard(
    document: Any, fits: str | None, does_not: str
) -> None:
    assert fits is None or misfit(document, fits) is None
    assert misfit(document, does_not) is not None


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"{", "it is not JSON: Expecting property name"),
        (b"\xff", r"\Ait is not UTF-8\Z"),
        (b'{"a": 1e99999999999999999999}', "it is not JSON"),
        (b"[" * 100_000, r"\Ait is nested too deep, or refers to itself\Z"),
        ([], r"\Aa JSON Schema is an object, true or false\Z"),
        ({"$schema": DRAFT_4, "exclusiveMaximum": True}, '^it: it does not fit "dependencies"'),
        ({"properties": {"a": {"$ref": "#/none"}, "b": True}}, "none. is not in the file"),
        ({"type": "strin"}, "^/type: it does not fit"),
        ({"properties": {"a": {"pattern": "("}}}, "^/properties/a/pattern: it does not fit"),
        ({"$schema": "https://a.example/"}, "no dialect that is known: .https://a.example/"),
        ({"$schema": 3}, "no dialect that is known: 3"),
        ({"$ref": "https://a.example/b.json"}, "b.json. is not in the file, and is not fetched"),
        ({"items": {"$dynamicRef": "other.json"}}, "other.json. is not in the file"),
        ({"$ref": "#/$defs/none"}, "none. is not in the file"),
        ({"$ref": "#"}, "refers to itself"),
        (
            {"items": {"$schema": DRAFT_4}},
            r"\Aonly the root of a schema can have a [$]schema\Z",
        ),
    ],
)  # fmt: skip
def test_a_schema_that_can_not_be_used_is_refused(document: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        schema(document)


@pytest.mark.parametrize(
    ("document", "text", "said"),
    [
        (False, "1", "its schema allows nothing here"),
        (b'{"multipleOf": 0.1}', "1e99999", 'it does not fit "multipleOf": 0.1'),
        ({"unevaluatedItems": False}, "[1]", 'it does not fit "unevaluatedItems": false'),
        ({"additionalProperties": False}, '{"x":1}', 'there may be no "x"'),
        ({"const": "é"}, "1", 'it does not fit "const": "é"'),
        ({"const": "x" * 198}, "1", f'it does not fit "const": "{"x" * 198}"'),
        ({"const": "x" * 199}, "1", f'it does not fit "const": "{"x" * 199}…'),
    ],
)
def test_a_misfit_says_what_would_fit(document: Any, text: str, said: str) -> None:
    assert misfit(document, text) == ("", f"the data: {said}")


def test_many_items_are_not_compared_with_each_other() -> None:
    unique = schema({"uniqueItems": True})

    def cost_s(count: int) -> float:
        text = json.dumps([{"number": number} for number in range(count)])
        began_s = time.thread_time()
        unique.check(text)
        return time.thread_time() - began_s

    # With each pair it would be 16 times as much.
    assert min(cost_s(2000) for _ in range(3)) < 9 * min(cost_s(500) for _ in range(3))


def test_a_schema_is_kept_as_it_is_written() -> None:
    assert schema(b'\xef\xbb\xbf{"multipleOf": 0.10}').text == '{"multipleOf": 0.10}'
