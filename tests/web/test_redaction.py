"""A ticket is in the url, and nowhere else: no log, no answer, no format of a balancer's log."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from broadcaster import Settings
from broadcaster.app import create_app
from broadcaster.backend.memory import MemoryLog
from broadcaster.web.redaction import redacted
from tests.nodes import QUICK, Raw, running
from tests.wait import until
from tests.web.tokens.issuers import SECRET, token

DEPLOY = Path(__file__).parents[2] / "deploy"
TICKET = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2ln"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"/v1/events?ticket={TICKET}", "/v1/events?ticket=…"),
        (f"/v1/events?channel=a&ticket={TICKET}&key=7", "/v1/events?channel=a&ticket=…&key=7"),
        (f'"GET /x?access_token={TICKET} HTTP/1.1"', '"GET /x?access_token=… HTTP/1.1"'),
        (f"/x?Ticket={TICKET}", "/x?Ticket=…"),
        ("/v1/events?channel=tickets", "/v1/events?channel=tickets"),
        ("/v1/tickets/7/stream?myticket=a", "/v1/tickets/7/stream?myticket=a"),
    ],
)
def test_a_url_is_shown_without_its_ticket(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.server
@pytest.mark.parametrize(
    "path",
    [
        "/v1/events?channel=orders&ticket={}",
        "/v1/events?channel=nothing&ticket={}",
        "/v1/events?channel=orders&chanel=x&ticket={}",
        "/v1/events?channel=orders&access_token={}",
        "/v1/orders/7/status/stream?ticket={}&from=rubbish",
        "/v1/channels?ticket={}",
        "/v1/channels/nothing?ticket={}",
        "/nothing?ticket={}",
        "/v1/tickets?ticket={}",
        "/?ticket={}",
    ],
)
async def test_no_log_and_no_answer_has_a_ticket(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under plain uvicorn, whose access log has the whole url."""
    caplog.set_level(logging.DEBUG)
    # A server without an access log, such as ours, sets these for the process.
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", True)
    caplog.set_level(logging.DEBUG, "uvicorn.access")
    app = create_app(Settings(token_secrets=[SECRET], **QUICK), log=MemoryLog())
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await until(lambda: server.started)
        answer = await Raw.get(listener.getsockname()[1], path.format(TICKET))
        body = await answer.rest()
    finally:
        Raw.close_all()
        server.should_exit = True
        await task
        listener.close()
    assert TICKET.encode() not in answer.head + body
    assert b"referrer-policy: no-referrer" in answer.head.lower()
    access = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert any("=…" in line for line in access)
    assert TICKET not in caplog.text


@pytest.mark.server
@pytest.mark.parametrize("claims", [{"sub": "ann"}, {"sub": "ann", "aud": "another"}, None])
async def test_no_log_and_no_answer_has_a_token_or_a_cookie(
    claims: dict[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it is good, refused, or no token at all; in every log, down to its debug lines."""
    caplog.set_level(logging.DEBUG)
    text = TICKET if claims is None else token(**claims, broadcaster={"subscribe": ["orders"]})
    given: dict[str, Any] = {
        "token_secrets": [SECRET],
        "token_cookie": "session",
        "operators_token": "of operators",
    }
    async with running("", log=MemoryLog(), **given) as hub:
        for header in (f"Authorization: Bearer {text}", f"Cookie: session={text}"):
            for path in ("/v1/orders/7/status/stream", "/v1/channels", "/metrics", "/nothing"):
                answer = await Raw.get(hub.port, path, f"{header}\r\n")
                if b"event-stream" in answer.head:
                    answer.body += await answer.until(b"stream.live")
                else:
                    answer.body += await answer.rest()
                for part in text.split("."):
                    assert part.encode() not in answer.head + answer.body
    assert "stream opened" in caplog.text or claims != {"sub": "ann"}
    for part in text.split("."):
        assert part not in caplog.text


def test_the_logs_of_the_balancers_have_no_queries() -> None:
    haproxy = (DEPLOY / "haproxy.cfg").read_text("utf-8")
    (format_,) = re.findall(r"^ +log-format (.*)$", haproxy, re.MULTILINE)
    assert "%HPO" in format_
    assert not re.search(r"%(\{[^}]*\})?(r|HU|HP|HPU|HQ|hr|hs)\b", format_)
    assert not re.search(r"^ +option (http|https|tcp)log", haproxy, re.MULTILINE)
    nginx = (DEPLOY / "nginx.conf").read_text("utf-8")
    formats = re.findall(r"log_format (.*?);", nginx, re.DOTALL)
    assert formats
    assert not re.search(
        r"\$(request\b|request_uri|args|arg_|query_string|http_)", "".join(formats)
    )
    assert re.findall(r"error_log \S+ (\w+);", nginx) == ["crit"]
