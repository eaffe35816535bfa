"""The page at `/docs`: an OpenAPI document for people, as HTML without scripts. Pure.

All texts of it are escaped: names of channels, types and schemas are others' words.
"""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from html import escape
from importlib import resources
from typing import Any
from urllib.parse import quote

from broadcaster.web.documents.operation import Json

_STYLE = (resources.files("broadcaster.web.documents") / "page.css").read_text("utf-8")
_STREAM, _OTHER = "text/event-stream", "any other"
_CODE, _LINK = re.compile(r"`([^`]+)`"), re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)")

POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What a browser may do with the page: use its own style, and nothing else."""


def page(document: Json, url: str) -> str:
    """Return the page.

    Args:
        document: an OpenAPI document, as `openapi` makes it.
        url: of the hub, for the examples; without a slash at the end.
    """
    info, shown = document["info"], Shown(document, url)
    prefix = escape(document["servers"][0]["url"].rstrip("/"))
    links = [f'<a href="{prefix}/{name}">{name}</a>' for name in ("openapi.json", "asyncapi.json")]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head>\n<body>"
        f"<header><h1>{escape(info['title'])}</h1>{_paragraphs(info['description'])}"
        f"<p>For tools: {', '.join(links)}.</p></header>\n"
        f'<nav aria-label="Operations">{"".join(shown.contents())}</nav>\n'
        f"<main>{''.join(shown.groups())}{''.join(shown.schemas())}</main></body></html>\n"
    )


class Shown:
    """The parts of a page."""

    def __init__(self, document: Json, url: str) -> None:
        """Store the arguments; see `page`."""
        self._document = document
        self._url = url
        self._groups: dict[str, list[tuple[str, str, Json]]] = {}
        for path, ways in document["paths"].items():
            for method, one in ways.items():
                self._groups.setdefault(one["tags"][0], []).append((method.upper(), path, one))

    def contents(self) -> Iterator[str]:
        """Yield the list of the operations."""
        for tag in self._document["tags"]:
            items = [
                f'<li><a href="#{escape(one["operationId"])}">{_way(method, path)}</a></li>'
                for method, path, one in self._groups[tag["name"]]
            ]
            yield f"<h2>{escape(tag['name'].capitalize())}</h2><ul>{''.join(items)}</ul>"

    def groups(self) -> Iterator[str]:
        """Yield the operations, in their groups."""
        for tag in self._document["tags"]:
            yield f"<h2>{escape(tag['name'].capitalize())}</h2>{_paragraphs(tag['description'])}"
            for method, path, one in self._groups[tag["name"]]:
                yield from self._operation(method, path, one)

    def _operation(self, method: str, path: str, one: Json) -> Iterator[str]:
        yield f'<section id="{escape(one["operationId"])}"><h3>{_way(method, path)}</h3>'
        yield _paragraphs(f"{one['summary']}.\n\n{one.get('description', '')}")
        if one["security"]:
            named = [" and ".join(need) or "nothing" for need in one["security"]]
            yield f"<p>It needs one of: {escape(', '.join(named))}.</p>"
        parameters = [self._resolved(given) for given in one.get("parameters", ())]
        yield _table(
            ("parameter", "in", "value", "means"),
            (
                (
                    _code(given["name"]) + (" (required)" if given.get("required") else ""),
                    escape(given["in"]),
                    self._type(given["schema"]),
                    _inline(given["description"]),
                )
                for given in parameters
            ),
        )
        yield from self._body(one)
        yield from self._answers(one)
        yield f"<pre><code>{escape(example(self._url, method, path, one, parameters))}</code></pre>"
        yield "</section>\n"

    def _body(self, one: Json) -> Iterator[str]:
        content = one.get("requestBody", {}).get("content", {})
        yield _table(
            ("body", "has"),
            (
                (_code(media), self._type(said.get("itemSchema", said.get("schema"))))
                for media, said in content.items()
            ),
        )

    def _answers(self, one: Json) -> Iterator[str]:
        answers = {status: self._resolved(said) for status, said in one["responses"].items()}
        yield _table(
            ("status", "means", "has"),
            (
                (
                    escape(status),
                    _inline(said["description"]),
                    ", ".join(_code(media) for media in said.get("content", {})),
                )
                for status, said in answers.items()
            ),
        )
        stream = answers.get("200", {}).get("content", {}).get(_STREAM)
        if stream and "itemSchema" in stream:  # that of the page of operators has none
            yield _table(("event", "data", "means"), self._events(stream["itemSchema"]))

    def _events(self, schema: Json) -> Iterator[tuple[str, str, str]]:
        """Yield a row for each type of event, once."""
        seen = set[str]()
        for event in self._kinds(schema):
            fields = event.get("properties", {})
            name = fields.get("event", {}).get("const", "")
            data = fields.get("data", {}).get("contentSchema", {})
            row = _code(name) if name else _OTHER, self._type(data), event.get("description", "")
            if str(row) not in seen:
                seen.add(str(row))
                yield row[0], row[1], _inline(row[2])

    def _kinds(self, schema: Json) -> Iterator[Json]:
        found = self._resolved(schema)
        if "anyOf" not in found:
            yield found
        for one in found.get("anyOf", ()):
            yield from self._kinds(one)

    def _resolved(self, part: Any) -> Any:
        while isinstance(part, dict) and (reference := str(part.get("$ref", ""))):
            part = self._document
            for name in reference.removeprefix("#/").split("/"):
                part = part[name.replace("~1", "/").replace("~0", "~")]
        return part

    def _type(self, schema: Any) -> str:
        """Return a few words about what a schema allows."""
        if not isinstance(schema, dict) or not schema:
            return "any JSON"
        if reference := schema.get("$ref"):
            name = escape(reference.rpartition("/")[2])
            return f'<a href="#schema-{name}">{name}</a>'
        if "enum" in schema:
            return ", ".join(_code(str(value)) for value in schema["enum"])
        if "anyOf" in schema:
            return " or ".join(map(self._type, schema["anyOf"]))
        if schema.get("type") == "array":
            return f"list of {self._type(schema.get('items'))}"
        fields = schema.get("properties")
        if fields:
            return "; ".join(f"{_code(name)}: {self._type(one)}" for name, one in fields.items())
        return escape(str(schema.get("type", "any JSON")))

    def schemas(self) -> Iterator[str]:
        """Yield the schemas, as they are in the document."""
        found = self._document["components"].get("schemas", {})
        if found:
            yield "<h2>Schemas</h2>"
        for name, schema in found.items():
            text = json.dumps(schema, indent=2, ensure_ascii=False)
            yield (
                f'<details id="schema-{escape(name)}"><summary>{escape(name)}</summary>'
                f"<pre><code>{escape(text)}</code></pre></details>"
            )


def example(url: str, method: str, path: str, one: Json, parameters: Iterable[Json]) -> str:
    """Return a command of curl for an operation.

    Args:
        url: of the hub.
        method: in upper case.
        path: with `{name}` where something has to be filled in.
        one: the Operation Object.
        parameters: of it, none of them a reference.
    """
    query = []
    for given in parameters:
        if given["in"] == "path":
            path = path.replace(f"{{{given['name']}}}", _value(given))
        elif given["in"] == "query" and given.get("required"):
            query.append(f"{quote(given['name'])}={quote(_value(given))}")
    words = ["curl"]
    if _STREAM in one["responses"].get("200", {}).get("content", {}):
        words += ["--no-buffer", "--header", shlex.quote(f"Accept: {_STREAM}")]
    if one["security"] and {} not in one["security"]:
        words += ["--header", '"Authorization: Bearer $TOKEN"']
    if "requestBody" in one:
        body = json.dumps(one["requestBody"]["content"]["application/json"]["example"])
        words += ["--header", "'Content-Type: application/json'", "--data", shlex.quote(body)]
    elif method == "POST":
        words += ["--request", "POST"]
    return " ".join([*words, shlex.quote(url + path + ("?" + "&".join(query) if query else ""))])


def _value(given: Json) -> str:
    schema = given["schema"]
    return "NAME" if "Channel" in str(schema) else "7"


def _way(method: str, path: str) -> str:
    return f"<b>{escape(method)}</b> <code>{escape(path)}</code>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of cells that are HTML already; empty without rows."""
    lines = [f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows]
    if not lines:
        return ""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _paragraphs(text: str) -> str:
    parts = [part.strip() for part in text.split("\n\n")]
    return "".join(f"<p>{_inline(part)}</p>" for part in parts if part)


def _inline(text: str) -> str:
    """Return HTML for a text with code and links in CommonMark."""
    coded = _CODE.sub(r"<code>\1</code>", escape(text))
    return _LINK.sub(r'<a href="\2" rel="noreferrer">\1</a>', coded)


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
