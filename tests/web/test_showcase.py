"""The page comes with a policy, and every answer with headers that keep browsers from guessing."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

from broadcaster import Publisher
from tests.nodes import Raw, events, running
from tests.wait import http_client

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
        assert policy.pop(f"{kind}-src") == f"'sha256-{digest}'"
    nothing = ("default-src", "base-uri", "form-action", "frame-ancestors")
    assert policy == {
        **dict.fromkeys(nothing, "'none'"), "connect-src": "'self'", "img-src": "data:",
    }  # fmt: skip
    assert " style=" not in answer.text
    assert not re.search(r"\bon\w+=\"", answer.text)


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
