"""Writes the tables that follow from the code: `make tables` runs it, a test compares.

A generated table lies between two comments of its page, so that the prose around it stays.
"""

from __future__ import annotations

import re
from pathlib import Path

from broadcaster import Settings
from broadcaster.core.resume import rules
from tests.clients.roster import ROSTER

SETTINGS = Path(__file__).with_name("settings.md")
CLIENTS = Path(__file__).with_name("clients.md")
HTTP = Path(__file__).with_name("http.md")
CONTINUITY = Path(__file__).with_name("design") / "001-continuity.md"
_DRIVERS = Path(__file__).parents[1] / "tests" / "clients"
_RECIPE = re.compile(r"(<!-- recipe: (\S+) -->\n```\w+\n).*?^(```$)", re.DOTALL | re.MULTILINE)
_MARKED = re.compile(r"(<!-- generated -->\n\n).*?(\n\n<!-- /generated -->)", re.DOTALL)


def settings_table() -> str:
    """A row for each setting: its name, its default, and what it means.

    Those that `Settings` has from its groups come last.
    """
    fields = Settings.model_fields
    rows = [
        f"| `{name}` | {shown(fields[name].default)} | {fields[name].description} |"
        for name in sorted(fields, key=lambda name: name not in Settings.__annotations__)
    ]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows])


def shown(default: object) -> str:
    """A default as the documents show it."""
    if default is None:
        return "by the path"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int | float):
        return str(default)
    if isinstance(default, str) and default:
        return f"`{default}`"
    return "none" if default in ("", (), frozenset(), {}) else "the pet store"


def clients_table() -> str:
    """A row for each foreign client: what it does as its own documentation shows it."""
    rows = [
        f"| {client.name} | {client.clean_end} | {client.status_204} | {client.large} |"
        for client in ROSTER
    ]
    head = "| library | after a clean end | after 204 | with an event of 1 MB |"
    return "\n".join([head, "|---|---|---|---|", *rows])


def rules_table(table: rules.Table) -> str:
    """A row for each answer in each situation of the resume rule."""
    lines = ["| situation | asked of the log | answer | what follows |", "|---|---|---|---|"]
    for situation, rule in table.items():
        asks = f"`{rule.asks.__name__}`" if rule.asks else "nothing"
        named = situation.value
        for answer, outcome in rule.then.items():
            said = "" if answer is rules.Said.UNASKED else answer.value
            lines.append(f"| {named} | {asks} | {said} | {outcome.value} |")
            named = asks = ""
    return "\n".join(lines)


def with_recipes(page: str) -> str:
    """The text of a page with the recipes of the drivers that it names."""
    return _RECIPE.sub(lambda block: f"{block[1]}{recipe(block[2])}{block[3]}", page)


def recipe(driver: str) -> str:
    """The recipe in the file of a driver: the lines between its two marks."""
    text = (_DRIVERS / driver).read_text("utf-8")
    _, _, begun = text.partition("[recipe]\n")
    lines = begun.partition("[/recipe]")[0].splitlines()[:-1]
    return "\n".join(lines).strip() + "\n"


def with_tables(page: str, *tables: str) -> str:
    """The text of a page with these tables between its marks, in order."""
    rest = iter(tables)
    return _MARKED.sub(lambda marks: f"{marks[1]}{next(rest)}{marks[2]}", page)


def continuity(page: str) -> str:
    """The text of design note 001 with both tables of the resume rule."""
    return with_tables(page, rules_table(rules.STARTS), rules_table(rules.RULES))


if __name__ == "__main__":
    SETTINGS.write_text(with_tables(SETTINGS.read_text("utf-8"), settings_table()), "utf-8")
    CONTINUITY.write_text(continuity(CONTINUITY.read_text("utf-8")), "utf-8")
    clients = with_tables(CLIENTS.read_text("utf-8"), clients_table())
    CLIENTS.write_text(with_recipes(clients), "utf-8")
    HTTP.write_text(with_recipes(HTTP.read_text("utf-8")), "utf-8")
