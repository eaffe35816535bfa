"""A compose project of its own, on a free port, which is gone when the block is left."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import resource
import secrets
import shlex
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from broadcaster.backend.embedded import free_port

ROOT = Path(__file__).parent.parent.parent
DEPLOYMENT = ROOT / "docs" / "deployment.md"
NEEDS = "COMPOSE_TEST=1 asks for it (make compose-test); it needs a Docker engine"
_BLOCK = re.compile(r"<!-- compose -->\n```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# Runs in a node's container: all entries of a stream, decoded without any code of ours.
_ENTRIES = """
import json, os, sys, msgpack, redis
client = redis.Redis.from_url(os.environ["BROADCASTER_REDIS_URL"])
for id, fields in client.xrange(sys.argv[1]):
    if b"m" in fields:
        type, key, data = msgpack.unpackb(fields[b"m"])
    else:  # the end of a run, which a script has written
        type, key, data = (fields[name].decode() for name in (b"type", b"key", b"data"))
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    print(json.dumps([id.decode(), type, key, text]))
"""
_STATISTICS = """
import urllib.request
print(urllib.request.urlopen("http://lb:8404/;csv").read().decode())
"""


class Entry(NamedTuple):
    """An entry of a stream in Redis."""

    id: str
    type: str
    key: str
    data: str


def page_commands() -> list[str]:
    """The commands of the documents' section about Compose, in their order."""
    page = DEPLOYMENT.read_text("utf-8")
    lines = [line for block in _BLOCK.findall(page) for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ ")]


class Stack:
    """The services, run by the same commands that the documents show.

    Attributes:
        port: where the balancer is published.
        image: what is built.
    """

    def __init__(self, **settings: str) -> None:
        self.port = free_port()
        self.image = f"broadcaster:{secrets.token_hex(4)}"
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"broadcaster{secrets.token_hex(4)}",
            "PORT": str(self.port),
            "TAG": self.image.partition(":")[2],
            # An engine without the right to raise the limit has ours.
            "NOFILE": str(min(hard, 65536)),
            "REDIS_DATA": _redis_data(),
            **settings,
        }

    async def run(self, command: str, stdin: str = "") -> str:
        """Run a command of the page; returns what it prints on stdout."""
        words = shlex.split(command)
        if words[:2] == ["docker", "compose"]:
            words[:2] = _compose()
        process = await asyncio.create_subprocess_exec(
            *words, cwd=ROOT, env=self._environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode == 0, f"{command}: {out.decode()[-2000:]}{err.decode()[-2000:]}"
        return out.decode()

    async def nodes(self) -> list[str]:
        """The containers of the nodes that run."""
        return (await self.run("docker compose ps -q node")).split()

    async def kill(self, container: str) -> None:
        """End a container's process without a warning."""
        await self.run(f"docker kill {container}")

    async def _python(self, script: str, *arguments: str) -> str:
        for node in await self.nodes():
            state = await self.run(f"docker inspect -f {{{{.State.Running}}}} {node}")
            if state.strip() == "true":
                call = shlex.join(["docker", "exec", "-i", node, "python", "-", *arguments])
                return await self.run(call, script)
        raise AssertionError("no node runs")

    async def entries(self, stream: str) -> list[Entry]:
        """All entries of a stream."""
        lines = (await self._python(_ENTRIES, stream)).splitlines()
        return [Entry(*json.loads(line)) for line in lines]

    async def connections(self) -> list[int]:
        """How many streams the balancer has open to each node; empty until it has all for up."""
        text = (await self._python(_STATISTICS)).removeprefix("# ")
        rows = csv.DictReader(io.StringIO(text))
        counts = [
            int(row["scur"])
            for row in rows
            if row["pxname"] == "nodes" and row["svname"] != "BACKEND" and row["status"] == "UP"
        ]
        return counts if len(counts) == len(await self.nodes()) else []

    async def logs(self) -> str:
        """The last lines of all services, for a test that failed."""
        return await self.run("docker compose logs --no-color --tail 40")


@asynccontextmanager
async def stack(**settings: str) -> AsyncIterator[Stack]:
    """A project that is torn down, volumes, images and all, when the block is left."""
    made = Stack(**settings)
    try:
        yield made
    except BaseException:
        print(await made.logs())  # noqa: T201 -- pytest shows it with the failure
        raise
    finally:
        await made.run("docker compose down --volumes --remove-orphans --timeout 1")
        await made.run(f"docker rmi --force {made.image}")


def _compose() -> list[str]:
    if docker := shutil.which("docker"):
        asked = subprocess.run([docker, "compose", "version"], capture_output=True)
        if asked.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"]


def _redis_data() -> str:
    """Where the image's user may write: its volume, or, where it has none, Debian's place."""
    image = os.environ.get("REDIS_IMAGE", "redis:8-alpine")
    command = ["docker", "image", "inspect", "--format", "{{json .Config.Volumes}}", image]
    volumes = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return "/var/lib/redis" if volumes == "null" else "/data"
