"""What foreign tools make of the OpenAPI document.

redocly lints it, openapi-ts makes a client, and schemathesis makes requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broadcaster import MemoryLog
from tests.clients import package, toolchain
from tests.nodes import running
from tests.wait import PATIENCE_S, http_client
from tests.web.documents.hubs import HUBS, document
from tests.web.tokens.issuers import SECRET, token

FILES = Path(__file__).with_name("documents")
STOCK = str(Path(__file__).parents[1] / "web" / "documents" / "stock.json")
CHANNELS: dict[str, Any] = {
    "stock": {"path": "/s", "state": "last", "schemas": {"stock": STOCK}},
    "orders": {"path": "/o", "shards": 3},
}
STREAMS = ("/s", "/o", "/v1/events", "/v1/operations/stream")  # these answers have no end
# `make schemathesis` has many.
EXAMPLES = int(os.environ.get("EXAMPLES", "3"))
PHASES = "examples,fuzzing" if EXAMPLES < 10 else "examples,coverage,fuzzing"
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory beside the tools, which are skipped where npm can't fetch them."""
    tools = package.installed(FILES, "documents")
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "node_modules").symlink_to(tools / "node_modules")
    return tmp_path


def values(text: str) -> Iterator[Any]:
    """The objects of JSON in a text, one after the other."""
    while (start := text.find("{")) >= 0:
        value, end = json.JSONDecoder().raw_decode(text, start)
        yield value
        text = text[end:]


async def test_redocly_finds_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    names = []
    for number, hub in enumerate(HUBS):
        for operators in (False, True):
            names.append(f"{number}-{operators}.json")
            found = await document(hub, operators=operators)
            (place / names[-1]).write_text(json.dumps(found), "utf-8")
    program = "node_modules/@redocly/cli/bin/cli.js"
    printed = package.run(place, program, "lint", "--format=json", *names)
    reports = list(values(printed))
    assert [report["problems"] for report in reports] == len(reports) * [[]]
    assert reports


async def test_redocly_would_find_something(place: Path) -> None:
    found: Any = await document()
    del found["paths"]["/v1/events"]["get"]["summary"]
    (place / "wrong.json").write_text(json.dumps(found), "utf-8")
    with pytest.raises(AssertionError, match="summary"):
        package.run(place, "node_modules/@redocly/cli/bin/cli.js", "lint", "wrong.json")


async def test_a_client_that_is_made_of_it_compiles_and_reads_a_stream(place: Path) -> None:
    log = MemoryLog()
    for left in (4, 3):
        log.add("inventory", type="stock-change", key="7", data={"petId": "7", "newStock": left})
        log.add("inventory", type="stock-change", key="8", data={"petId": "8", "newStock": 9})
    shutil.copytree(package.HERE / "src", place / "hub", ignore=shutil.ignore_patterns("react*"))
    async with (
        running("", log=log, **HUBS["schemas"]) as hub,
        http_client(base_url=hub.url) as http,
    ):
        (place / "openapi.json").write_text((await http.get("/openapi.json")).text, "utf-8")
        package.run(place, "node_modules/@hey-api/openapi-ts/bin/run.js")
        package.run(place, "node_modules/typescript/bin/tsc", "--project", ".")
        printed = await asyncio.to_thread(package.run, place, "out/read.js", hub.url)
    assert json.loads(printed) == [4, 3]


def without_waits(document: Any) -> Any:
    """The document, without the parameter that makes an answer wait for a minute."""
    for path in document["paths"].values():
        for operation in path.values():
            given = operation.get("parameters", [])
            operation["parameters"] = [one for one in given if one.get("name") != "wait"]
    return document


def tried(url: str, bearer: str) -> subprocess.CompletedProcess[str]:
    """Let schemathesis try all that a document describes."""
    document = httpx.get(f"{url}/openapi.json", headers={"authorization": f"Bearer {bearer}"})
    Path("openapi.json").write_text(json.dumps(without_waits(document.json())), "utf-8")
    try:
        command = [*toolchain.command("schemathesis"), "run", "openapi.json", "--url", url]
    except toolchain.MissingError as error:
        pytest.skip(str(error))
    for path in STREAMS:
        command += ["--exclude-path", path]
    # A key that was used for other events is refused, however valid the request is.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--header", f"Authorization: Bearer {bearer}", "--phases", PHASES]
    command += ["--max-examples", str(EXAMPLES), "--seed", "1", "--request-timeout", "20"]
    environment = {**os.environ, "COLUMNS": "200"}
    timeout_s = PATIENCE_S * max(12, EXAMPLES)
    return subprocess.run(
        command, env=environment, timeout=timeout_s, capture_output=True, text=True
    )


@pytest.mark.timeout(PATIENCE_S * max(30, 2 * EXAMPLES))
@pytest.mark.parametrize("application", ["clients", "operators"])
async def test_answers_are_as_the_document_says(
    redis_url: str, application: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # schemathesis writes there
    rights = {"publish": list(CHANNELS), "subscribe": list(CHANNELS)}
    bearer = token(sub="shop", broadcaster=rights)
    async with running(
        redis_url,
        two_ports=True,
        channels=CHANNELS,
        token_secrets=[SECRET],
        operators_token="of operators",
    ) as hub:
        url = hub.url if application == "clients" else hub.operators_url
        given = bearer if application == "clients" else "of operators"
        done = await asyncio.to_thread(tried, url, given)
    assert done.returncode == 0, done.stdout
