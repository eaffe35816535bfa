"""Puts a JSON Schema into a document. Pure.

There, `#` is the whole document, so a reference of the schema to a part of itself has to name the
place of the schema, too.
"""

from __future__ import annotations

from typing import Any

_DIALECT = "https://json-schema.org/draft/2020-12/schema"  # which OpenAPI takes for granted
_REFERENCES = ("$ref", "$dynamicRef")
# The names in these objects are not keywords.
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
# These are values, and no schemas.
_VALUES = ("const", "enum", "default", "examples", "example")


def moved(schema: Any, place: str) -> Any:
    """Return a schema as it is at its place.

    Args:
        schema: an object or a truth value, the whole of a file.
        place: a reference to the place, such as `#/components/schemas/Order`.

    Returns:
        The schema. If a part of it has an `$id`, references are left as they are, since `#` means
        that part there.
    """
    if not isinstance(schema, dict):
        return schema
    whole = {name: value for name, value in schema.items() if name != "$id"}
    if whole.get("$schema") == _DIALECT:
        del whole["$schema"]
    return schema if _has_id(whole) else _moved(whole, place, keywords=True)


def _has_id(part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(part.get("$id"), str) or any(map(_has_id, part.values()))
    return isinstance(part, list) and any(map(_has_id, part))


def _moved(part: Any, place: str, *, keywords: bool) -> Any:
    if isinstance(part, list):
        return [_moved(one, place, keywords=True) for one in part]
    if not isinstance(part, dict):
        return part
    if not keywords:
        return {name: _moved(value, place, keywords=True) for name, value in part.items()}
    found = {}
    for name, value in part.items():
        if name in _REFERENCES and isinstance(value, str) and (value + "/").startswith("#/"):
            found[name] = place + value[1:]
        elif name in _VALUES:
            found[name] = value
        else:
            found[name] = _moved(value, place, keywords=name not in _NAMED)
    return found
