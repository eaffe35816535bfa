"""Real foreign clients: our recipes pass each scenario, and their own defaults do as is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import quirks, toolchain
from tests.clients.roster import ROSTER, Client
from tests.clients.scenarios import PASSES, SCENARIOS

Record = Callable[[str, object], None]
CLIENTS = pytest.mark.parametrize("client", ROSTER, ids=lambda client: client.id)


@pytest.fixture(autouse=True)
def _installed(client: Client) -> None:
    try:
        toolchain.command(client.language)
    except toolchain.MissingError as error:
        pytest.skip(str(error))


@CLIENTS
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_recipe_gets_what_the_stream_has(
    client: Client,
    scenario: str,
    redis_url: str,
    tmp_path: Path,
    record_property: Record,
) -> None:
    found = await SCENARIOS[scenario](client, redis_url, tmp_path)
    record_property("foreign", [client.name, scenario, found])
    assert found == client.fails.get(scenario, PASSES)


@CLIENTS
async def test_after_a_clean_end_it_does_as_is_written(
    client: Client, redis_url: str, record_property: Record
) -> None:
    found = await quirks.clean_end(client, redis_url)
    record_property("foreign", [client.name, "a clean end", found])
    assert found == client.clean_end


@CLIENTS
async def test_after_204_it_does_as_is_written(
    client: Client, redis_url: str, record_property: Record
) -> None:
    found = await quirks.status_204(client, redis_url)
    record_property("foreign", [client.name, "status 204", found])
    assert found == client.status_204


@CLIENTS
async def test_of_a_large_event_it_does_as_is_written(
    client: Client, redis_url: str, record_property: Record
) -> None:
    found = await quirks.large(client, redis_url)
    record_property("foreign", [client.name, "an event of 1 MB, as it comes", found])
    assert found == client.large
