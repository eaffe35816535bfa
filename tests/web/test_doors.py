"""Every door of a hub, and every kind of caller: the answer, and which events it has.

The table has all of it. A test fails if a door is not in the table, or if a route or the path of a
channel has no door.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import httpx
import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.event import EventId
from broadcaster.core.run import key_of
from broadcaster.web.table import TABLE
from tests.nodes import Raw, Running, running, told
from tests.wait import http_client
from tests.web.tokens.issuers import SECRET, token

SHOP, EVIL = "https://shop.example", "https://evil.example"
OPERATORS_TOKEN = "a token that operators alone have"

#: The initial of a channel stands for it in the table.
CHANNELS: dict[str, Any] = {
    "news": {"path": "/news", "access": "public", "state": "last"},
    "orders": {"path": "/orders/{key}", "state": "last"},
    "carts": {"path": "/carts", "key_param": "user"},
    "hidden": {"path": "/hidden", "listed": False},
    "made": {"path": "/made", "key_param": "user", "key_required": True, "requests": "made.asked"},
}
#: After any event that a caller may see, there are no others than those that it may see, too.
KEYS = ("7", "8", "", "7", "8")

#: `o7` is: the events of `orders` with the key 7; `*` is: all events; `-` is: a stream without any.
CALLERS = (
    "nobody", "forged", "expired", "in the query", "revoked", "operator", "other channel",
    "key 8", "key 7", "every key", "ticket", "stolen ticket", "cookie", "cookie of another page",
)  # fmt: skip
NEVER = "401   401   401   401   401   401   "
ALWAYS = {status: f"{status} " * 14 for status in (200, 400, 404)}
OPERATORS = "401   401   401   401   401   200   401   401   401   401   401   401   401   401"
DOCUMENTS = "200   401   401   401   401   401   200   200   200   200   200   401   200   403"
KEY_7 = NEVER + "403   403   {0}    {0}    {0}    401   {0}    403"
NO_KEY = NEVER + "403   {0}8    {0}7    {0}*    {0}7    401   {0}7    403"
DOORS = {
    # Channels that are public
    "GET /news": "n*   " * 14,
    "GET /news?key=8": "n8   " * 14,
    "GET /v1/events?channel=news": "n*   " * 14,
    # Channels that need a token: with a key, without one, and with a key beyond the grant
    "GET /orders/7": KEY_7.format("o7"),
    "GET /carts?user=7": KEY_7.format("c7"),
    "GET /hidden?key=7": KEY_7.format("h7"),
    "GET /made?user=7": KEY_7.format("m7"),
    "GET /v1/events?channel=orders&key=7": KEY_7.format("o7"),
    "GET /v1/events?channel=orders,carts&key=7": KEY_7.format("c7+o7"),
    "GET /v1/events?channel=news&channel=orders&key=7": KEY_7.format("n7+o7"),
    "GET /carts": NO_KEY.format("c"),
    "GET /hidden": NO_KEY.format("h"),
    "GET /made": NEVER + "403   m8    m7    400   m7    401   m7    403",
    "GET /v1/events?channel=orders": NO_KEY.format("o"),
    "GET /v1/events?channel=orders,carts":
        NEVER + "403   c8+o8 c7+o7 c*+o* c7+o7 401   c7+o7 403",
    "GET /v1/events?channel=news,orders":
        NEVER + "403   n*+o8 n*+o7 n*+o* n*+o7 401   n*+o7 403",
    "GET /v1/events?channel=orders&key=7&key=8":
        NEVER + "403   403   403   o7,8  403   401   403   403",
    "GET /v1/events?channel=orders&key=*": NEVER + "403   403   403   -     403   401   403   403",
    "GET /orders/%2A": NEVER + "403   403   403   -     403   401   403   403",
    "GET /orders/7%00": NEVER + "403   403   403   -     403   401   403   403",
    # Pages of the log
    "GET /v1/channels/news/events": "n*   " * 14,
    "GET /v1/channels/orders/events": NO_KEY.format("o"),
    "GET /v1/channels/orders/events?key=7": KEY_7.format("o7"),
    "GET /v1/channels/made/events?key=7": KEY_7.format("m7"),
    "GET /v1/channels/hidden/events?key=7": ALWAYS[404],
    "GET /v1/channels/none/events": ALWAYS[404],
    # States
    "GET /v1/channels/news/state": ALWAYS[200],
    "GET /v1/channels/orders/state": NEVER + "403   200   200   200   200   401   200   403",
    "GET /v1/channels/orders/state?key=7": KEY_7.format("200"),
    "GET /v1/channels/carts/state": NEVER + "403   404   404   404   404   401   404   403",
    "GET /v1/channels/hidden/state": ALWAYS[404],
    # What no caller learns about
    "GET /v1/events": ALWAYS[400],
    "GET /v1/events?channel=hidden&key=7": ALWAYS[404],
    "GET /v1/events?channel=orders,hidden&key=7": ALWAYS[404],
    "GET /v1/events?channel=none": ALWAYS[404],
    "GET /v1/channels/hidden": ALWAYS[404],
    "GET /v1/channels/none": ALWAYS[404],
    # Descriptions
    "GET /v1/channels":
        "n     401   401   401   401   401   n     n+o+c+m n+o+c+m n+o+c+m n+o+c+m 401 n+o+c+m 403",
    "GET /v1/channels/orders": NEVER + "403   200   200   200   200   401   200   403",
    "GET /v1/channels/news": ALWAYS[200],
    # Documents show what the caller may see.
    "GET /openapi.json": DOCUMENTS,
    "GET /asyncapi.json": DOCUMENTS,
    "GET /docs": DOCUMENTS,
    # A ticket is for the bearer of a token in the header alone.
    "POST /v1/tickets": NEVER + "200   200   200   200   401   401   401   401",
    # Publishing. None of these tokens has the right to.
    "POST /v1/channels/orders/events": NEVER + "403   403   403   403   401   401   401   401",
    "POST /v1/channels/news/events": NEVER + "403   403   403   403   401   401   401   401",
    "POST /v1/channels/hidden/events": NEVER + "403   403   403   403   401   401   401   401",
    "POST /v1/channels/none/events": ALWAYS[404],
    # Runs. An id is looked for first, and the node is without Redis, which has them.
    "GET /v1/runs/5-5": "503   " * 14,
    "POST /v1/runs/5-5/stop": "503   " * 14,
    # Operators. The node is without Redis, so nothing can be revoked: 503.
    "GET /metrics": OPERATORS,
    "GET /v1/nodes": OPERATORS,
    "GET /v1/health": OPERATORS,
    "GET /v1/operations/stream": OPERATORS,
    "POST /v1/revocations?name=ann": OPERATORS.replace("200", "503"),
    # The page, and the probes of balancers
    "GET /": ALWAYS[200],
    "GET /client.js": ALWAYS[200],
    "GET /react.js": ALWAYS[200],
    "GET /page/page.js": ALWAYS[200],
    "POST /page/token": ALWAYS[404],
    "GET /healthz": ALWAYS[200],
    "GET /readyz": ALWAYS[200],
}  # fmt: skip


class AnsweringLog(MemoryLog):
    """A log that remembers what was asked for on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, EventId]] = []

    async def request(self, requests: str, key: str) -> EventId:
        run = await super().request(requests, key)
        self.asked.append((key, run))
        return run


class Sent(NamedTuple):
    """What a caller adds to a request."""

    headers: dict[str, str]
    query: str = ""


class Doors(NamedTuple):
    """A hub, and its callers."""

    hub: Running
    log: AnsweringLog
    http: httpx.AsyncClient
    callers: dict[str, Sent]


def keyed(key: str) -> dict[str, Any]:
    """The claims of a token for one key of each channel that needs a token."""
    names = [name for name, table in CHANNELS.items() if "access" not in table]
    return {"sub": "ann", "broadcaster": {"subscribe": [f"{name}:{key}" for name in names]}}


def bearing(text: str) -> Sent:
    return Sent({"authorization": f"Bearer {text}"})


async def made(http: httpx.AsyncClient) -> dict[str, Sent]:
    """Return what each caller sends."""
    mine, past_s = token(**keyed("7")), int(time.time()) - 10_000
    headers = {**bearing(mine).headers, "origin": SHOP}
    ticket = "ticket=" + (await http.post("/v1/tickets", headers=headers)).json()["ticket"]
    cookie = {"cookie": f"session={mine}"}
    found = (
        Sent({}),
        bearing(token("another secret, which this hub does not have at all", **keyed("7"))),
        bearing(token(**keyed("7"), iat=past_s, exp=past_s + 60)),
        Sent({}, f"access_token={mine}"),
        bearing(token(**keyed("7"), jti="stolen")),
        bearing(OPERATORS_TOKEN),
        bearing(token(sub="ann", broadcaster={"subscribe": ["elsewhere"]})),
        bearing(token(**keyed("8"))),
        bearing(mine),
        bearing(token(**keyed("*"))),
        Sent({"origin": SHOP}, ticket),
        Sent({"origin": EVIL}, ticket),
        Sent({**cookie, "sec-fetch-site": "same-origin"}),
        Sent({**cookie, "origin": EVIL, "sec-fetch-site": "cross-site"}),
    )
    return dict(zip(CALLERS, found, strict=True))


@pytest.fixture(params=["transport", "asgi"])
async def doors(request: pytest.FixtureRequest) -> AsyncIterator[Doors]:
    log = AnsweringLog()
    settings: dict[str, Any] = {
        "channels": CHANNELS,
        "token_secrets": [SECRET],
        "ticket_secrets": [SECRET],
        "token_cookie": "session",
        "operators_token": OPERATORS_TOKEN,
        "cors_origins": [SHOP],
    }
    async with (
        running("", log=log, sink=request.param, **settings) as hub,
        http_client(base_url=hub.url) as http,
    ):
        hub.node.revoking.known.add("stolen", int(time.time() * 1000) + 60_000)
        yield Doors(hub, log, http, await made(http))


def publish(log: AnsweringLog) -> None:
    """Add a round of events to each channel, and to each run that was asked for."""
    for channel in ("news", "orders", "carts", "hidden"):
        for key in KEYS:
            log.add(channel, type="t", key=key, data=f"{channel}:{key}")
    for key, run in 2 * log.asked:
        log.add("made", type="t", key=key_of(key, run), data=f"made:{key}")


def seen(data: Sequence[str]) -> str:
    """What was told, as a cell of the table has it."""
    keys = defaultdict[str, set[str]](set)
    for text in data:
        channel, _, key = text.partition(":")
        keys[channel[0]].add(key)
    every = {channel: found == set(KEYS) for channel, found in keys.items()}
    texts = [
        channel + ("*" if every[channel] else ",".join(sorted(found)))
        for channel, found in sorted(keys.items())
    ]
    return "+".join(texts) or "-"


def count(cell: str) -> int:
    """How many events of one round a caller gets, by a cell of the table."""
    numbers = {"7": 2, "8": 2, "*": len(KEYS)}
    return sum(numbers.get(letter, 0) for letter in cell)


def target(path: str, sent: Sent) -> str:
    more = "&".join(text for text in ("from=earliest", sent.query) if text)
    return f"{path}{'&' if '?' in path else '?'}{more}"


async def streamed(doors: Doors, path: str, row: list[str]) -> list[str]:
    """Open a door for all callers, and return what they get from the past and live."""
    streams = []
    for sent in doors.callers.values():
        headers = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
        stream = await Raw.get(doors.hub.port, target(path, sent), headers)
        if b"text/event-stream" in stream.head:
            await stream.until(b"stream.live")
        streams.append(stream)
    before = [len(told(stream.body)) for stream in streams]
    publish(doors.log)
    found = []
    for stream, past, cell in zip(streams, before, row, strict=True):
        status = stream.head.split()[1].decode()
        if b"text/event-stream" in stream.head:
            status = seen(await stream.told(past + count(cell)))
        stream.close()
        found.append(status)
    return found


async def paged(doors: Doors, path: str, row: list[str]) -> list[str]:
    """Read pages for all callers, and return what they get from the past, and later."""
    path += f"{'&' if '?' in path else '?'}limit=1000"
    first = [
        await doors.http.get(target(path, sent), headers=sent.headers)
        for sent in doors.callers.values()
    ]
    publish(doors.log)
    found = []
    for answer, sent, cell in zip(first, doors.callers.values(), row, strict=True):
        text, data, later = str(answer.status_code), list[str](), 0
        page = answer.json()
        while answer.is_success:
            data += [event["text"] for event in page["events"]]
            text = seen(data)
            if later >= count(cell):
                break
            url = f"{path}&wait=60&after={page['next']}&{sent.query}"
            page = (await doors.http.get(url, headers=sent.headers)).json()
            later += len(page["events"])
        found.append(text)
    return found


async def answered(doors: Doors, method: str, path: str) -> list[str]:
    """Return the answers of a door that is no event stream."""
    found = []
    for sent in doors.callers.values():
        url = f"{path}{'&' if '?' in path else '?'}{sent.query}"
        publishes = method == "POST" and path.endswith("/events")
        body = {"key": "7", "data": 1} if publishes else None
        async with doors.http.stream(method, url, headers=sent.headers, json=body) as answer:
            # The stream of operators never ends.
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                await answer.aread()
        text = str(answer.status_code)
        if path == "/v1/channels" and answer.is_success and answer.text:
            text = "+".join(one["channel"][0] for one in answer.json()["channels"])
        found.append(text)
    return found


def is_stream(path: str) -> bool:
    paths = ("/v1/events", *(table["path"].partition("{")[0] for table in CHANNELS.values()))
    return path.startswith(paths)


@pytest.mark.server
async def test_each_caller_gets_what_the_table_says(doors: Doors) -> None:
    publish(doors.log)
    found, table = {}, {}
    for door, cells in DOORS.items():
        method, _, path = door.partition(" ")
        row = table[door] = cells.split()
        if is_stream(path):
            found[door] = await streamed(doors, path, row)
        elif method == "GET" and "/events" in path:
            found[door] = await paged(doors, path, row)
        else:
            found[door] = await answered(doors, method, path)
    assert found == table


@pytest.mark.server
@pytest.mark.parametrize("doors", ["transport"], indirect=True)
async def test_head_is_answered_as_get_and_opens_nothing(doors: Doors) -> None:
    found, expected = {}, {}
    for door, cells in DOORS.items():
        method, _, path = door.partition(" ")
        if method == "GET":
            expected[path] = [cell if cell.isdecimal() else "200" for cell in cells.split()]
            found[path] = await answered(doors, "HEAD", path)
    assert found == expected
    assert not doors.hub.node.hub.subscribers
    assert not doors.log.asked


def test_each_route_and_each_path_of_a_channel_is_a_door() -> None:
    doors = {door.partition("?")[0] for door in DOORS}
    ways = [(row.path, method) for row in TABLE for method in row.methods if method != "HEAD"]
    ways += [(table["path"], "GET") for table in CHANNELS.values()]
    for path, method in ways:
        pattern = re.compile(f"{method} {re.sub('{[^}]+}', '[^/]+', path)}")
        assert any(pattern.fullmatch(door) for door in doors), f"{method} {path} has no row"
