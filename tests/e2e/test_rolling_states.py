"""A rolling update from a recent commit, whose states and runs are those of today.

Nodes, folders, workers and clients of both versions run beside each other. Each version takes over
the checkpoints of the other, and the runs that the other has begun.
"""

from __future__ import annotations

import json
import re
import signal
import time
from functools import partial
from typing import Any

import pytest

from broadcaster import EventId
from broadcaster.core.state.checkpoint import mark_of
from tests.command_line import Running
from tests.e2e.versions import LASTS_S, STATEFUL, Front, Stage, Version
from tests.wait import TEST_S, http_client, until
from tests.workers.conftest import events_of

RUNS = "/v1/pets/recommendations/stream"
CHECKPOINT, LOCK = "{inventory}:state", "{inventory}:folder"

pytestmark = pytest.mark.timeout(2 * TEST_S + 4 * LASTS_S)

Held = dict[tuple[str, str], Any]
"""The newest data of each pet and type."""


class Holder:
    """A `broadcaster tail` that begins with the state of the inventory, and keeps what it shows.

    Attributes:
        held: what it has.
        live: the state is complete.
        newest: the id of its last event, or of the state.
    """

    def __init__(self, name: str, tail: Running) -> None:
        self.name = name
        self.tail = tail
        self.held: Held = {}
        self.live = False
        self.newest = EventId(0, 0)
        self._lines = 0

    @classmethod
    async def at(cls, stage: Stage, version: Version, front: Front) -> Holder:
        """Start one, and wait until it is live."""
        arguments = ("tail", "inventory", "--from", "state", "--base-url", front.url)
        tail = await stage.run(version, "broadcaster", *arguments)
        made = cls(f"the {version.name} client at front {front.name}", tail)
        await until(lambda: made.read().live)
        return made

    def read(self) -> Holder:
        """Take what has come. A reset is none of it, nor a state that lacks something."""
        lines = self.tail.out[self._lines :]
        self._lines += len(lines)
        for line in map(json.loads, lines):
            type_, data = line["type"], line["data"]
            if type_ == "stream.state":
                assert "since" not in data, f"{self.name} was sent {line}"
                self.held, self.live = {}, False
            elif type_ == "stream.live":
                self.live = True
            elif type_ != "stream.at":
                assert not type_.startswith("stream."), f"{self.name} was sent {line}"
                self.held[data["petId"], type_] = data
            if re.fullmatch(r"\d+-\d+", line["id"]):
                self.newest = EventId.of_entry(line["id"].encode())
        return self

    def has_come_to(self, id_: EventId) -> bool:
        """Return True if it has what was published up to an id."""
        return self.read().newest >= id_


def head(stage: Stage) -> EventId:
    return EventId.of_entry(stage.store.xinfo_stream("inventory")["last-generated-id"])


async def folded(stage: Stage) -> None:
    """Wait until the checkpoint has come to the head."""

    def has_come() -> bool:
        mark = mark_of(stage.store.hget(CHECKPOINT, "at"))
        return bool(mark and mark.position == head(stage))

    await until(has_come)


async def go_on(stage: Stage, clients: list[Holder]) -> None:
    """Wait until each client has an event that is newer than this moment."""
    await until(lambda: stage.store.exists("inventory"))
    after = head(stage).after()
    for client in clients:
        await until(partial(client.has_come_to, after))


async def test_clients_of_a_state_move_between_the_versions(
    stage: Stage, fronts: tuple[Front, Front], recent: Version
) -> None:
    first, second = fronts
    await first.lead_to(await stage.node(recent))
    await second.lead_to(await stage.node(STATEFUL))
    folders = [await stage.folder(recent)]
    await until(lambda: stage.store.exists(LOCK))
    folders.append(await stage.folder(STATEFUL))
    workers = [await stage.worker(version, "inventory") for version in (recent, STATEFUL)]
    pairs = [(version, front) for version in (recent, STATEFUL) for front in fronts]
    clients = [await Holder.at(stage, *pair) for pair in pairs]
    began_s, moves = time.monotonic(), 0
    while not moves or time.monotonic() - began_s < LASTS_S:
        await first.lead_to(await stage.node(STATEFUL), signal.SIGKILL)
        await second.lead_to(await stage.node(recent), signal.SIGKILL)
        await go_on(stage, clients)
        await first.lead_to(await stage.node(recent), signal.SIGTERM)
        await second.lead_to(await stage.node(STATEFUL), signal.SIGTERM)
        await go_on(stage, clients)
        moves += 4
    for process in (*workers, *folders):
        assert await process.stop() == 0
    right: Held = {
        (event.key, event.type): json.loads(event.data)
        for event in events_of(stage.store, "inventory")
    }
    for client in clients:
        await until(partial(client.has_come_to, head(stage)))
        assert client.held == right, client.name

    # The folder of one version goes on with the checkpoint of the other.
    for version in (STATEFUL, recent):
        folder = await stage.folder(version)
        data = {"petId": version.name, "newStock": 1}
        fields = {"type": "stock-change", "key": version.name, "data": json.dumps(data)}
        stage.store.xadd("inventory", fields)
        right[version.name, "stock-change"] = data
        await folded(stage)
        assert await folder.stop() == 0
        stage.store.xtrim("inventory", maxlen=0, approximate=False)
        for front, reader in zip(fronts, (recent, STATEFUL), strict=True):
            await front.lead_to(await stage.node(reader), signal.SIGKILL)
            client = await Holder.at(stage, STATEFUL, front)
            assert client.held == right, f"{reader.name} reads what {version.name} has written"


@pytest.mark.parametrize("recent_node", [True, False])
async def test_a_run_goes_on_at_the_other_version(
    stage: Stage, fronts: tuple[Front, Front], recent: Version, recent_node: bool
) -> None:
    begun, other = (recent, STATEFUL) if recent_node else (STATEFUL, recent)
    first, second = fronts
    for front in fronts:
        await front.lead_to(await stage.node(begun))
    later = await stage.node(other)
    worker = await stage.worker(other, "recommendations", "4")

    run, tail = await asked(stage, begun, first)
    await first.lead_to(later, signal.SIGKILL)
    assert await tail.ended() == 0
    events = shown(tail)
    assert [id_ for id_, _ in events] == [
        str(event.id) for event in events_of(stage.store, "recommendations")
    ]
    assert events[-1][1] == "complete"
    assert await states(fronts, run) == ["complete", "complete"]

    assert await worker.stop() == 0
    await stage.worker(begun, "recommendations", "0.1")  # so that there is time to stop it
    run, tail = await asked(stage, other, first)
    async with http_client() as http:
        answer = await http.post(f"{second.url}/v1/runs/{run}/stop")
    assert answer.json()["state"] == "stopped"
    assert await tail.ended() == 0
    assert shown(tail)[-1][1] == "stopped"
    assert await states(fronts, run) == ["stopped", "stopped"]


async def asked(stage: Stage, version: Version, front: Front) -> tuple[str, Running]:
    """Begin a run, and follow it until a worker has begun with it."""
    async with http_client() as http:
        answer = await http.post(f"{front.url}{RUNS}", json={"userId": "you"})
    assert answer.status_code == 201, answer.text
    told = answer.json()
    arguments = ("tail", told["url"], "--base-url", front.url)
    tail = await stage.run(version, "broadcaster", *arguments)
    await tail.line('"recommendation"')
    return told["run"], tail


def shown(tail: Running) -> list[tuple[str, str]]:
    """Id and type of each event of a run."""
    lines = [line for line in map(json.loads, tail.out) if not line["type"].startswith("stream.")]
    ids = [line["id"].partition(",")[0].removeprefix("recommendations=") for line in lines]
    return list(zip(ids, (line["type"] for line in lines), strict=True))


async def states(fronts: tuple[Front, Front], run: str) -> list[str]:
    """What a node of each version says of a run."""
    async with http_client() as http:
        answers = [await http.get(f"{front.url}/v1/runs/{run}") for front in fronts]
    return [answer.json()["state"] for answer in answers]
