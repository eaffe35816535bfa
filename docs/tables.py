"""Writes the tables that follow from the code: `make tables` runs it, a test compares.

A generated table lies between two comments of its page, so that the prose around it stays.
"""

from __future__ import annotations

import re
from pathlib import Path

from broadcaster import Settings

SETTINGS = Path(__file__).with_name("settings.md")
_MARKED = re.compile(r"(<!-- generated -->\n\n).*?(\n\n<!-- /generated -->)", re.DOTALL)


def settings_table() -> str:
    """A row for each setting: its name, its default, and what it means."""
    rows = [
        f"| `{name}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows])


def shown(default: object) -> str:
    """A default as the documents show it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int | float):
        return str(default)
    if isinstance(default, str) and default:
        return f"`{default}`"
    return "none" if default in ("", (), frozenset()) else "the pet store"


def with_table(page: str, table: str) -> str:
    """The text of a page with this table between its marks."""
    return _MARKED.sub(lambda marks: f"{marks[1]}{table}{marks[2]}", page)


if __name__ == "__main__":
    SETTINGS.write_text(with_table(SETTINGS.read_text("utf-8"), settings_table()), "utf-8")
