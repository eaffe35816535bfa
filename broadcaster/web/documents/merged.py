"""Puts the event streams of a mounted hub into the OpenAPI document of its application. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broadcaster.web.documents.components import used
from broadcaster.web.documents.operation import Json

_TAGS = ("streams", "channels")
_SECURITY = "securitySchemes"


def merged(document: Mapping[str, Any], hub: Json, prefix: str) -> Json:
    """Return an application's document with the event streams of a hub.

    Args:
        document: of the application. It stays as it is.
        hub: the document of the hub.
        prefix: the path that the hub is mounted under.

    Returns:
        The document with the routes of the hub that read and publish, but not with its pages and
        probes. A component whose name the application uses, too, has another name.
    """
    own = {
        prefix.rstrip("/") + path: {m: one for m, one in ways.items() if one["tags"][0] in _TAGS}
        for path, ways in hub["paths"].items()
    }
    paths: Json = {path: ways for path, ways in own.items() if ways}
    parts = used({"paths": paths}, hub["components"])
    parts[_SECURITY] = hub["components"].get(_SECURITY, {})
    theirs: Mapping[str, Any] = document.get("components", {})
    names = {
        f"#/components/{kind}/{name}": f"#/components/{kind}/{_free(name, theirs.get(kind, {}))}"
        for kind, found in parts.items()
        for name in found
    }
    components: Json = {kind: dict(found) for kind, found in theirs.items()}
    for kind, found in parts.items():
        for name, one in found.items():
            place = names[f"#/components/{kind}/{name}"].rpartition("/")[2]
            components.setdefault(kind, {})[place] = _renamed(one, names)
    tags = document.get("tags", [])
    known = {tag["name"] for tag in tags}
    more = [tag for tag in hub["tags"] if tag["name"] in _TAGS and tag["name"] not in known]
    return {
        **document,
        "tags": [*tags, *more],
        "paths": {**_renamed(paths, names), **document.get("paths", {})},
        "components": components,
    }


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name = f"Hub{name}"
    return name


def _renamed(part: Any, names: Mapping[str, str]) -> Any:
    """Return a part of a document in which components have other names."""
    if isinstance(part, list):
        return [_renamed(one, names) for one in part]
    if not isinstance(part, dict):
        return part
    found: Json = {}
    for name, value in part.items():
        if name == "$ref" and isinstance(value, str):
            whole = "/".join(value.split("/")[:4])
            found[name] = names.get(whole, whole) + value[len(whole) :]
        elif name == "security" and isinstance(value, list):
            found[name] = [{_scheme(one, names): [] for one in need} for need in value]
        else:
            found[name] = _renamed(value, names)
    return found


def _scheme(name: str, names: Mapping[str, str]) -> str:
    place = f"#/components/{_SECURITY}/{name}"
    return names.get(place, place).rpartition("/")[2]
