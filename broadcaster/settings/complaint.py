"""Explains what is wrong with a setting: what was expected, and which name is the nearest.

pydantic checks the settings. Its texts are about Python, but an operator writes TOML or variables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from broadcaster.core.nearest import did_you_mean

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "secret": "a text",
    "tuple": 'a list of texts, such as ["a", "b"]',
    "frozen_set": 'a list of texts, such as ["a", "b"]',
    "dict": "a table",
    "dataclass": 'a table with at least a path: path = "/v1/…"',
}
_LISTS = ("tuple", "frozen_set")
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MAX_CHARS = 64


def complaint(error: Mapping[str, Any], known: Iterable[str]) -> str:
    """Return what is wrong, in the words of an operator.

    Args:
        error: an error of pydantic's, as a dict.
        known: the names that may stand where the error is.
    """
    kind, given = str(error["type"]), error["input"]
    if kind in _UNKNOWN:
        return f"there is no such name; {did_you_mean(str(error['loc'][-1]), known)}".rstrip("; ")
    if kind == "missing":
        return "it is required"
    if kind in _BOUNDS:
        bound, word = _BOUNDS[kind]
        return f"expected {word} {error['ctx'][bound]:g}, not {shown(given)}"
    if kind == "literal_error":
        return f"expected {error['ctx']['expected']}, not {shown(given)}"
    for name, expected in _EXPECTED.items():
        if kind.startswith(f"{name}_"):
            if name in _LISTS and isinstance(given, str):
                expected = f"a list, {as_list(given)}"
            if name == "dict":
                expected = _table(error["loc"])
            return f"expected {expected}, not {shown(given)}"
    return str(error["msg"]).removeprefix("Value error, ")


def _table(loc: Sequence[int | str]) -> str:
    name = ".".join(map(str, loc))
    return (
        f"a table for each channel: [{name}.NAME]" if name == "channels" else f"a table: [{name}]"
    )


def as_list(text: str) -> str:
    """Return a text as the JSON of a list. Commas part its items."""
    return json.dumps([part.strip() for part in text.split(",")], ensure_ascii=False)


def shown(value: Any) -> str:
    """Return a value as an operator writes it, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "…"
