"""Hubs whose documents are looked at, and the official schemas of documents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from broadcaster import MemoryLog, Settings, create_app
from broadcaster.core.access.policy import Policy
from tests.wait import http_client
from tests.web.tokens.issuers import SECRET

OFFICIAL = Path(__file__).parent / "official"

_STOCK = str(Path(__file__).parent / "stock.json")

#: Settings of hubs that differ in what their documents have.
HUBS: dict[str, dict[str, Any]] = {
    "pet store": {},
    "tokens": {
        "token_secrets": [SECRET],
        "ticket_secrets": [SECRET],
        "token_cookie": "session",
        "operators_token": "a token of operators",
        "channels": {
            "news": {"path": "/news", "access": "public"},
            "orders": {"path": "/orders/{key}"},
            "carts": {"path": "/carts", "key_param": "user", "key_required": True},
            "hidden": {"path": "/hidden", "listed": False},
        },
    },
    "names": {
        "channels": {
            "a-b": {"path": "/a-b/{key}.json", "terminal": ["c", "ü & <b>", "message", "…"]},
            "a": {"path": "/a", "terminal": ["b-c"], "shards": 3},
            "stream": {"path": "/stream", "terminal": ["reset"]},
            "Problem": {"path": "/problem"},
        }
    },
    "schemas": {
        "channels": {
            "inventory": {
                "path": "/stock",
                "key_param": "petId",
                "schemas": {"stock-change": _STOCK, "a b": _STOCK},
            },
            "orders": {"path": "/orders", "schemas": {"*": _STOCK}, "terminal": ["complete"]},
        }
    },
    "nothing to see": {"channels": {"hidden": {"path": "/hidden", "listed": False}}},
}


@asynccontextmanager
async def asked(
    hub: str = "pet store", *, authorize: Policy | None = None, operators: bool = False, **more: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a hub, without a socket between them."""
    app = create_app(Settings(**(HUBS[hub] | more)), log=MemoryLog(), authorize=authorize)
    transport = httpx.ASGITransport(app.operators if operators else app)
    async with http_client(transport=transport, base_url="http://hub.example") as client:
        yield client
    await app.state.node.aclose()


async def document(hub: str = "pet store", path: str = "/openapi.json", **more: Any) -> Any:
    """The document of a hub, as a caller without a token gets it."""
    async with asked(hub, **more) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    return answer.json()


@cache
def openapi_validator() -> Validator:
    """Checks OpenAPI documents by the official schema, and the schemas in them too."""
    names = ("schema", "schema-base", "dialect", "meta")
    read = [json.loads((OFFICIAL / f"openapi-3.2-{name}.json").read_text()) for name in names]
    resources = [(one["$id"], Resource.from_contents(one)) for one in read]
    # A registry that has not looked for its anchors before looks for them each time.
    registry: Registry[Any] = Registry().with_resources(resources).crawl()
    # The document's own dialect is the default one, which `schema-base` names.
    base = {**read[1], "properties": {}}
    return Draft202012Validator(base, registry=registry)


def schema_in(whole: Any, schema: Any) -> Validator:
    """Checks values by a schema of a document, which may refer to others there."""
    resource = Resource.from_contents(whole, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:document", resource)
    rebased = json.loads(json.dumps(schema).replace('"#/', '"urn:document#/'))
    return Draft202012Validator(rebased, registry=registry)


def parts(document: Any, key: str) -> Iterator[Any]:
    """Everything in a document that has this name."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == key:
                yield value
            yield from parts(value, key)
    elif isinstance(document, list):
        for one in document:
            yield from parts(one, key)


def at(document: Any, pointer: str) -> Any:
    """What a reference in a document refers to."""
    for name in pointer.removeprefix("#/").split("/"):
        document = document[name.replace("~1", "/").replace("~0", "~")]
    return document
