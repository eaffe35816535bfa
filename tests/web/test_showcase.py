"""The page comes with a policy, and every answer with headers that keep browsers from guessing."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from broadcaster import Publisher
from broadcaster.app import create_app
from broadcaster.backend.memory import MemoryLog
from broadcaster.settings import load_settings
from tests.clients.package import NODE
from tests.nodes import Raw, events, running
from tests.wait import http_client

PAGES = Path(__file__).parents[2] / "broadcaster" / "web" / "pages"
STREAM = "/v1/inventory/stream"
ORDER = "/v1/orders/7/status/stream"


async def test_the_policy_allows_what_is_in_the_page_and_nothing_else(redis_url: str) -> None:
    async with running(redis_url) as hub, http_client() as http:
        answer = await http.get(hub.url + "/")
    policy = dict(
        rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
    )
    inline = re.findall(r"<(script|style)[^>]*>(.*?)</", answer.text, re.DOTALL)
    assert [kind for kind, _ in inline] == ["style", "script"]
    for kind, text in inline:
        digest = b64encode(sha256(text.encode()).digest()).decode()
        modules = "'self' " if kind == "script" else ""
        assert policy.pop(f"{kind}-src") == f"{modules}'sha256-{digest}'"
    nothing = ("default-src", "base-uri", "form-action", "frame-ancestors")
    assert policy == {
        **dict.fromkeys(nothing, "'none'"),
        **dict.fromkeys(("connect-src", "worker-src"), "'self'"), "img-src": "data:",
    }  # fmt: skip
    assert " style=" not in answer.text
    assert not re.search(r"\bon\w+=\"", answer.text)


@pytest.mark.server
async def test_its_modules_are_served_and_nothing_beside_them() -> None:
    async with running("", log=MemoryLog()) as hub, http_client(base_url=hub.url) as http:
        for name in sorted(path.name for path in PAGES.glob("*.js")):
            answer = await http.get(f"/page/{name}")
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
            assert answer.text == (PAGES / name).read_text("utf-8")
            for other in re.findall(r'from "\./(.*?)"', answer.text):
                assert (PAGES / other).exists()
        for name in ("page.css", "index.html", "nothing.js", "..%2Fproblem.py", "%2e%2e"):
            assert (await http.get(f"/page/{name}")).status_code == 404


@pytest.mark.server
async def test_the_page_and_its_modules_have_60_kilobytes_at_most() -> None:
    async with running("", log=MemoryLog()) as hub, http_client(base_url=hub.url) as http:
        size = 0
        for path in ("/", "/client.js", *(f"/page/{path.name}" for path in PAGES.glob("*.js"))):
            async with http.stream("GET", path) as answer:
                assert answer.headers["content-encoding"] == "gzip"
                size += int(answer.headers["content-length"])
    assert size <= 60_000, size


@pytest.mark.server
async def test_the_page_is_told_what_there_is() -> None:
    async def told(url: str) -> Any:
        async with http_client() as http:
            content = re.search(r'<meta name="hub" content="(.*?)">', (await http.get(url)).text)
        assert content
        found = json.loads(unescape(content[1]))
        modules = found.pop("modules")
        assert modules == sorted(f"page/{path.name}" for path in PAGES.glob("*.js"))
        return found

    nothing = {"token": False, "redis": ""}
    async with running("", log=MemoryLog(), two_ports=True) as hub:
        assert await told(hub.url) == {"channels": True, "operations": False, **nothing}
        assert await told(hub.operators_url) == {"channels": False, "operations": True, **nothing}
    async with running("", log=MemoryLog()) as hub:
        assert await told(hub.url) == {"channels": True, "operations": True, **nothing}


async def test_the_token_of_the_page_is_for_that_page_alone() -> None:
    app = create_app(load_settings(redis_url="redis://unused", cors_origins=("*",)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        own = {"sec-fetch-site": "same-origin"}
        assert (await http.post("/page/token", headers=own)).status_code == 404
        app.state.page_token = lambda: "a token"
        answer = await http.post("/page/token", headers=own)
        assert answer.json() == {"token": "a token"}
        assert answer.headers["cache-control"] == "no-store"
        for site in ("cross-site", "same-site", "none", ""):
            other = {"sec-fetch-site": site, "origin": "https://evil.example"}
            assert (await http.post("/page/token", headers=other)).status_code == 403
        assert (await http.post("/page/token")).status_code == 403
        assert (await http.get("/page/token", headers=own)).status_code == 404
    await app.state.node.aclose()


async def test_every_answer_has_the_headers_of_every_answer(
    redis_url: str, publisher: Publisher
) -> None:
    await publisher.publish("orders", type="complete", key="7", data="x")
    origin = "https://shop.example"
    asked = {"origin": origin, "access-control-request-method": "GET"}
    async with (
        running(redis_url, cors_origins=(origin,), allowed_hosts=("127.0.0.1", "localhost")) as hub,
        http_client(base_url=hub.url) as http,
    ):
        seen = events(await (await Raw.get(hub.port, ORDER)).rest())[-1].id
        answers = {
            200: [
                *[await http.get(path) for path in ("/", "/v1/channels", "/healthz", "/metrics")],
                await http.get(ORDER),
                await http.head(STREAM),
                await http.options(STREAM, headers=asked),
            ],
            204: [await http.get(ORDER, headers={"last-event-id": seen})],
            400: [await http.get(STREAM + "?form=1"),
                  await http.options(STREAM, headers={**asked, "origin": "https://a.example"})],
            404: [await http.get("/v1/nothing"), await http.get("/v1/channels/nothing")],
            405: [await http.post(STREAM), await http.post("/")],
            421: [await http.get("/", headers={"host": "a.example"})],
            431: [await http.get("/", headers={"x": "x" * 90_000})],
        }  # fmt: skip
        hub.node.draining = True
        answers[200].append(await http.get(STREAM))
    for status, several in answers.items():
        for answer in several:
            assert answer.status_code == status
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"], answer.url
            assert answer.headers.get_list("referrer-policy") == ["no-referrer"], answer.url


@pytest.mark.server
def test_values_of_a_state_are_of_its_channel_and_have_no_id() -> None:
    def block(kind: str, id_: str = "", **data: object) -> dict[str, str]:
        return {"type": kind, "id": id_, "data": json.dumps(data)}

    both = "inventory=5-0,orders=7-0"
    taken = [
        block("stream.reset", channel="orders", state=True),
        block("stream.state", channel="inventory", keys=1),
        block("stock-change", "2-0"),  # the id that its reader remembers is none of its own
        block("stream.state", channel="orders", keys=1),
        block("status"),
        block("stream.live", both, replayed=2),
        block("status", "inventory=5-0,orders=8-0"),
        block("stream.state", channel="inventory", keys=1),
        "reopen",
        block("status", "inventory=5-0,orders=9-0"),
    ]
    script = (
        f"import {{ Track }} from {json.dumps((PAGES / 'ids.js').as_uri())};"
        "const track = new Track();"
        f"console.log(JSON.stringify({json.dumps(taken)}.map((each) => each === 'reopen'"
        " ? track.reopen() : track.place(each))));"
    )
    done = subprocess.run(
        [NODE, "--input-type=module", "-e", script], capture_output=True, check=True
    )
    placed = [one and (one["stream"], one["id"], one["isState"]) for one in json.loads(done.stdout)]
    assert [placed[n] for n in (2, 4, 6, 9)] == [
        ("inventory", "", True),
        ("orders", "", True),
        ("orders", "8-0", False),
        ("orders", "9-0", False),
    ]
