"""The page at /docs: all of the OpenAPI document, escaped, and with nothing from outside."""

from __future__ import annotations

import re
import shlex
from base64 import b64encode
from hashlib import sha256
from html import escape, unescape
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from broadcaster import MemoryLog
from broadcaster.web.documents.page import example
from tests.nodes import running
from tests.wait import http_client
from tests.web.documents.hubs import HUBS, asked, document

_VOID = ("meta",)


class Read(HTMLParser):
    """A page as a browser reads it: its tags, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]


async def page(hub: str = "pet store", **more: Any) -> httpx.Response:
    async with asked(hub, **more) as client:
        return await client.get("/docs")


@pytest.mark.parametrize("operators", [False, True])
@pytest.mark.parametrize("hub", HUBS)
async def test_it_shows_all_of_the_document(hub: str, operators: bool) -> None:
    found = await document(hub, operators=operators)
    text = (await page(hub, operators=operators)).text
    shown = Read(text)
    for path, ways in found["paths"].items():
        for method, one in ways.items():
            assert one["operationId"] in shown.values("id")
            way = f"<b>{method.upper()}</b> <code>{escape(path)}</code>"
            assert text.count(way) == 2  # in the contents, and below
            assert one["summary"].replace("`", "") in shown.text
            names = [p["name"] for p in one.get("parameters", ()) if "name" in p]
            assert all(name in shown.text for name in names)
    for one in found["components"].get("parameters", {}).values():
        assert one["name"] in shown.text
    for name in found["components"]["schemas"]:
        assert f"schema-{name}" in shown.values("id")
    inside = {link for link in shown.values("href") if link.startswith("#")}
    assert {link[1:] for link in inside} <= set(shown.values("id"))


async def test_it_shows_the_events_of_a_channel_and_their_data() -> None:
    text = (await page("schemas")).text
    section = text.partition('<section id="read.inventory">')[2].partition("</section>")[0]
    assert "<code>stock-change</code>" in section
    assert '<a href="#schema-InventoryStockChange">' in section
    assert "<code>stream.reset</code>" in section
    assert "any other" in section


async def test_what_others_have_written_is_escaped() -> None:
    text = (await page("names")).text
    assert "ü &amp; &lt;b&gt;" in text
    assert "<b>" not in re.sub(r"<b>[A-Z]+</b>", "", text)
    Read(text)


async def test_the_host_of_a_request_is_text() -> None:
    async with asked() as client:
        answer = await client.get("/docs", headers={"host": "a'><b>.example"})
    assert "a'><b>" not in answer.text
    Read(answer.text)


async def test_nothing_of_it_comes_from_elsewhere_and_no_script_runs() -> None:
    answer = await page()
    shown = Read(answer.text)
    style = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = b64encode(sha256(style[0].encode()).digest()).decode()
    assert len(style) == 1
    assert answer.headers["content-security-policy"].split("; ") == [
        "default-src 'none'", f"style-src 'sha256-{digest}'", "base-uri 'none'",
        "form-action 'none'", "frame-ancestors 'none'",
    ]  # fmt: skip
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in shown.tags}
    assert not {"src", "style", "srcset"} & {name for _, one in shown.tags for name in one}
    assert not [name for _, one in shown.tags for name in one if name.startswith("on")]
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    assert len(answer.content) < 100_000


async def test_it_is_readable_in_light_and_in_dark() -> None:
    style = re.findall(r"<style>(.*?)</style>", (await page()).text, re.DOTALL)[0]
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert "color-scheme: light dark" in light
    for colours in (light, dark):
        found = dict(re.findall(r"--(\w+): (#\w+)", colours))
        for name in ("text", "soft", "link"):
            for ground in ("back", "code"):
                assert contrast(found[name], found[ground]) >= 4.5, (name, ground)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, which is 4.5 at least for text that can be read (WCAG 1.4.3)."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(p * weight for p, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.server
async def test_each_example_is_a_request_that_is_answered() -> None:
    async with running("", log=MemoryLog()) as hub, http_client(base_url=hub.url) as http:
        text = (await http.get("/docs")).text
        found = re.findall(r"<pre><code>(curl [^<]*)</code></pre>", text)
        commands = [shlex.split(unescape(line)) for line in found]
        assert sum("--no-buffer" in words for words in commands) >= 4
        for words in commands:
            assert words[-1].startswith(hub.url + "/")
            if "--request" in words or "--data" in words:
                continue
            # HEAD opens nothing, and is answered as GET is.
            answer = await http.head(words[-1].replace("NAME", "inventory"))
            # What is made up, such as the name of a run, may not be there.
            assert answer.status_code not in (400, 405, 500), words
            assert answer.status_code == 200 or "--no-buffer" not in words
    assert len(commands) > 8


def test_an_example_has_what_is_required_and_is_quoted_for_a_shell() -> None:
    one = {
        "responses": {"200": {"content": {"text/event-stream": {}}}},
        "security": [{"bearer": []}],
    }
    given: list[dict[str, Any]] = [
        {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "user", "in": "query", "required": True, "schema": {"type": "array"}},
        {"name": "from", "in": "query", "schema": {"type": "string"}},
    ]
    command = example("http://a'b", "GET", "/orders/{key}", one, given)
    assert shlex.split(command) == [
        "curl", "--no-buffer", "--header", "Accept: text/event-stream",
        "--header", "Authorization: Bearer $TOKEN", "http://a'b/orders/7?user=7",
    ]  # fmt: skip
    assert '"Authorization: Bearer $TOKEN"' in command  # where a shell puts the token in
