"""Publishing through a hub: to a real one, and to one that answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from broadcaster.commands.hub_publisher import HubPublisher
from broadcaster.core.json.incoming import Incoming
from broadcaster.errors import (
    BackendUnavailableError,
    ConfigurationError,
    InvalidEventError,
    PartialPublishError,
)
from tests.nodes import running
from tests.web.tokens.issuers import SECRET, token

CHANNELS = {"pets": {"path": "/pets"}}
EVENTS = [Incoming("t", "7", "1.10"), Incoming("message", "", "two\nlines")]


async def test_events_are_published_through_a_hub(redis_url: str, client: Any) -> None:
    mine = token(broadcaster={"publish": ["pets"]})
    async with running(redis_url, channels=CHANNELS, token_secrets=[SECRET]) as hub:
        publisher = HubPublisher(hub.url, mine)
        ids = await asyncio.to_thread(publisher.publish_many, "pets", EVENTS)
        once = [Incoming("message", "", "3", "a")]
        ids += await asyncio.to_thread(publisher.publish_many, "pets", once)
        assert await asyncio.to_thread(publisher.publish_many, "pets", once) == ids[-1:]
        publisher.close()
        stranger = HubPublisher(hub.url, "")
        with pytest.raises(ConfigurationError, match="status 401"):
            await asyncio.to_thread(stranger.publish_many, "pets", EVENTS)
        stranger.close()
    assert [id_.decode() for id_, _ in await client.xrange("pets")] == list(map(str, ids))


Handler = Callable[[httpx.Request], httpx.Response]


@contextmanager
def answering(*answers: Handler) -> Iterator[tuple[HubPublisher, list[httpx.Request], list[float]]]:
    """A publisher to a hub that answers in this way, its requests, and its pauses."""
    asked, slept, rest = list[httpx.Request](), list[float](), iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return next(rest)(request)

    publisher = HubPublisher("http://hub", "", sleep=slept.append)
    publisher._http = httpx.Client(
        base_url="http://hub", transport=httpx.MockTransport(handle), headers={}
    )
    yield publisher, asked, slept
    publisher.close()


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=request)


def status(number: int, *lines: dict[str, Any], **headers: str) -> Handler:
    content = "".join(json.dumps(line) + "\n" for line in lines)
    return lambda _: httpx.Response(number, content=content, headers=headers)


STORED = status(200, {"line": 1, "id": "1-0"}, {"line": 2, "id": "2-0"})


def test_a_lost_answer_and_a_hub_that_is_away_are_tried_again_with_the_same_key() -> None:
    busy = status(429, {"detail": "no"}, **{"retry-after": "7"})
    with answering(lost, busy, status(503, {"detail": "away"}), STORED) as (hub, asked, slept):
        assert list(map(str, hub.publish_many("pets", EVENTS))) == ["1-0", "2-0"]
    assert len({request.headers["idempotency-key"] for request in asked}) == 1
    assert len({request.content for request in asked}) == 1
    assert slept == [1.0, 7.0, 14.0]


def test_other_events_have_another_key() -> None:
    with answering(STORED, STORED) as (hub, asked, _):
        hub.publish_many("pets", EVENTS)
        hub.publish_many("pets", EVENTS)
    assert asked[0].headers["idempotency-key"] != asked[1].headers["idempotency-key"]


@pytest.mark.parametrize("answer", [lost, status(503, {"detail": "away"})])
def test_it_ends_some_time(answer: Handler) -> None:
    with (
        answering(*[answer] * 6) as (hub, asked, _),
        pytest.raises(BackendUnavailableError),
    ):
        hub.publish_many("pets", EVENTS)
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(403, {"detail": "no"}), ConfigurationError),
        (status(404), ConfigurationError),
        (status(422, {"detail": "no"}), InvalidEventError),
        (status(422, {"line": 1, "id": "1-0"}, {"detail": "no"}), PartialPublishError),
        (status(200, {"line": 1, "id": "1-0"}, {"detail": "no"}), PartialPublishError),
    ],
)
def test_what_is_refused_is_not_tried_again(answer: Handler, error: type[Exception]) -> None:
    with answering(answer) as (hub, asked, slept), pytest.raises(error) as caught:
        hub.publish_many("pets", EVENTS)
    assert (len(asked), slept) == (1, [])
    if isinstance(caught.value, PartialPublishError):
        assert list(map(str, caught.value.ids)) == ["1-0", "None"]


def test_the_line_that_is_refused_has_no_id_though_later_ones_have() -> None:
    said = status(422, {"line": 2, "id": "1-0"}, {"line": 1, "detail": "no"})
    with answering(said) as (hub, _, __), pytest.raises(PartialPublishError) as caught:
        hub.publish_many("pets", EVENTS)
    assert list(map(str, caught.value.ids)) == ["None", "1-0"]


def test_a_url_is_one_of_http() -> None:
    with pytest.raises(ConfigurationError, match="http://"):
        HubPublisher("hub.example", "")
    with answering() as (hub, _, __):
        assert hub.publish_many("pets", []) == []
