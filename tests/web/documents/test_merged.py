"""A hub that is mounted into FastAPI: its event streams are in the application's own documents."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from broadcaster import MemoryLog, Settings, UnknownChannelError, create_app
from broadcaster.web.documents.merged import merged
from tests.wait import http_client
from tests.web.documents.hubs import HUBS, at, openapi_validator, parts


class Problem(BaseModel):
    """A model of the application, which has the name of one of ours."""

    text: str


def shop(hub: str = "pet store", prefix: str = "/live", **more: Any) -> FastAPI:
    """An application with a hub in it, which has documents of its own."""
    mounted = create_app(Settings(**HUBS[hub]), log=MemoryLog())
    app = FastAPI(lifespan=mounted.router.lifespan_context)

    @app.get("/problems")
    def problems() -> list[Problem]:
        return []

    app.mount("/live", mounted)
    mounted.document_in(app, prefix, **more)
    return app


async def answered(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with http_client(transport=transport, base_url="http://shop.example") as client:
        return await client.get(path)


async def test_the_streams_are_in_the_documents_of_the_application() -> None:
    app = shop()
    found = (await answered(app, "/openapi.json")).json()
    assert (await answered(app, "/openapi.json")).json() == found
    assert set(found["paths"]) > {
        "/problems",
        "/live/v1/orders/{key}/status/stream",
        "/live/v1/inventory/stream",
        "/live/v1/events",
        "/live/v1/channels/{channel}",
    }
    # Its pages and probes are not.
    assert not {"/live/", "/live/docs", "/live/readyz"} & set(found["paths"])
    stream = found["paths"]["/live/v1/inventory/stream"]["get"]
    item = stream["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]
    assert "stream.reset" in str([at(found, one["$ref"]) for one in at(found, item["$ref"])["anyOf"]
                                  if "$ref" in one])  # fmt: skip
    # A component of the application keeps its name.
    assert list(found["components"]["schemas"]["Problem"]["properties"]) == ["text"]
    assert "detail" in found["components"]["schemas"]["HubProblem"]["properties"]
    for reference in parts(found, "$ref"):
        at(found, reference)
    openapi_validator().validate({**found, "openapi": "3.2.0"})
    assert "swagger" in (await answered(app, "/docs")).text.lower()


async def test_it_shows_public_channels_or_those_that_are_named() -> None:
    paths = (await answered(shop("tokens"), "/openapi.json")).json()["paths"]
    assert "/live/news" in paths
    assert "/live/carts" not in paths
    app = shop("tokens", "/live/", channels=["carts", "hidden"])
    found = (await answered(app, "/openapi.json")).json()
    assert {"/live/carts", "/live/hidden"} < set(found["paths"])
    assert "/live/news" not in found["paths"]
    needs = found["paths"]["/live/carts"]["get"]["security"]
    assert [next(iter(one)) for one in needs] == ["bearer", "cookie", "ticket"]
    with pytest.raises(UnknownChannelError):
        shop(channels=["none"])


def test_a_scheme_with_a_name_that_is_taken_gets_another_one() -> None:
    scheme = {"type": "http", "scheme": "bearer"}
    own = {"get": {"tags": ["streams"], "security": [{"bearer": []}], "responses": {}}}
    hub = {
        "paths": {"/a": own, "/healthz": {"get": {"tags": ["hub"], "security": []}}},
        "tags": [{"name": "streams"}, {"name": "hub"}],
        "components": {"securitySchemes": {"bearer": scheme}},
    }
    other = HTTPBearer().model.model_dump(mode="json", exclude_none=True)
    theirs = {"tags": [{"name": "streams", "description": "theirs"}],
              "components": {"securitySchemes": {"bearer": other}}}  # fmt: skip
    found = merged(theirs, hub, "/live")
    assert found["components"]["securitySchemes"] == {"bearer": other, "Hubbearer": scheme}
    assert list(found["paths"]) == ["/live/a"]
    assert found["paths"]["/live/a"]["get"]["security"] == [{"Hubbearer": []}]
    assert found["tags"] == theirs["tags"]
    assert own["get"]["security"] == [{"bearer": []}]
