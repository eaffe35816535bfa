"""The tables of the documents are complete, and say what the code says."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import broadcaster
from broadcaster import Channel, logs
from broadcaster.core.catalogue import OUR_PATHS
from broadcaster.core.resume import rules
from docs import tables
from tests.clients.roster import ROSTER
from tests.docs.terminal import ROOT

CHANNELS = (ROOT / "docs" / "channels.md").read_text("utf-8")


def table(page: str, heading: str) -> dict[str, tuple[str, ...]]:
    """The rows below a heading, by the name in their first cell."""
    _, _, rest = page.partition(f"# {heading}\n")
    section = re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {name: tuple(cell.strip() for cell in cells.split(" | ")) for name, cells in rows}


def test_every_setting_is_documented() -> None:
    page = tables.SETTINGS.read_text("utf-8")
    assert page == tables.with_tables(page, tables.settings_table()), "run `make tables`"
    assert tables.settings_table() in page


def test_the_design_note_has_the_tables_of_the_resume_rule() -> None:
    page = tables.CONTINUITY.read_text("utf-8")
    assert page == tables.continuity(page), "run `make tables`"
    assert all(tables.rules_table(table) in page for table in (rules.STARTS, rules.RULES))


def test_the_code_that_reads_with_a_generated_client_is_that_which_is_tested() -> None:
    page = tables.HTTP.read_text("utf-8")
    assert page == tables.with_recipes(page), "run `make tables`"


def test_each_foreign_client_has_a_recipe_which_is_the_code_that_is_tested() -> None:
    page = tables.CLIENTS.read_text("utf-8")
    assert page == tables.with_recipes(page), "run `make tables`"
    assert tables.clients_table() in page, "run `make tables`"
    named = re.findall(r"^### (.*)\n(?:(?!###).*\n)*?<!-- recipe: (\S+) -->", page, re.MULTILINE)
    assert named == [(client.name, client.source) for client in ROSTER]
    assert all(tables.recipe(source).strip() for _, source in named)


def test_every_path_of_the_hub_is_documented() -> None:
    page = (ROOT / "docs" / "http.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(/[^`?]*)` \|", page, re.MULTILINE)) == set(OUR_PATHS)


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    named = re.findall(r"^\.\. (?:auto\w+|data):: (\w+)", page, re.MULTILINE)
    assert sorted(named) == sorted([*broadcaster.__all__, *logs.__all__])


def test_every_property_of_a_channel_is_documented() -> None:
    fields = {field.name: field for field in dataclasses.fields(Channel)}
    shown = table(CHANNELS, "Properties")
    assert shown.keys() == fields.keys() - {"name"}
    for name, (default, _) in shown.items():
        if name != "path":
            made: Any = fields[name].default_factory
            given = fields[name].default if made is dataclasses.MISSING else made()
            assert default == tables.shown(given), name
