"""What is wrong with a setting, in the words of an operator."""

from __future__ import annotations

from typing import Any

import pytest

from broadcaster.settings.complaint import as_list, complaint, shown

KNOWN = ("max_connections", "terminal", "cors_origins")


def error(kind: str, given: Any, **ctx: Any) -> dict[str, Any]:
    said = "Value error, no"
    return {"type": kind, "loc": ("a", "terminl"), "input": given, "ctx": ctx, "msg": said}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (error("extra_forbidden", 3), "there is no such name; did you mean terminal?"),
        (error("unexpected_keyword_argument", 3) | {"loc": ("a", "zzz")}, "there is no such name"),
        (error("missing", {}), "it is required"),
        (error("greater_than", 0, gt=0.0), "expected above 0, not 0"),
        (error("less_than_equal", 70_000, le=65_535), "expected at most 65535, not 70000"),
        (error("literal_error", "warn", expected="'info' or 'warning'"),
         "expected 'info' or 'warning', not \"warn\""),
        (error("int_parsing", "many"), 'expected a whole number, not "many"'),
        (error("float_type", [1]), "expected a number, not [1]"),
        (error("bool_parsing", "maybe"), 'expected true or false, not "maybe"'),
        (error("frozen_set_type", "complete"), 'expected a list, ["complete"], not "complete"'),
        (error("tuple_type", 5), 'expected a list of texts, such as ["a", "b"], not 5'),
        (error("dict_type", ["a"]) | {"loc": ("channels",)},
         'expected a table for each channel: [channels.NAME], not ["a"]'),
        (error("dict_type", "a") | {"loc": ("channels", "pets", "schemas")},
         'expected a table: [channels.pets.schemas], not "a"'),
        (error("value_error", 1), "no"),
    ],
)  # fmt: skip
def test_it_says_what_was_expected(said: dict[str, Any], expected: str) -> None:
    assert complaint(said, KNOWN) == expected


def test_values_are_shown_as_they_are_written_and_short() -> None:
    assert as_list("https://a.example, https://b") == '["https://a.example", "https://b"]'
    assert shown("é") == '"é"'
    assert shown({1}) == "{1}"
    assert shown("x" * 100) == '"' + "x" * 63 + "…"
