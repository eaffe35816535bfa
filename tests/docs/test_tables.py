"""The tables of the documents are complete, and say what the code says."""

from __future__ import annotations

import dataclasses
import re

from broadcaster import Channel, Settings
from tests.docs.terminal import ROOT

README = (ROOT / "README.md").read_text("utf-8")
CHANNELS = (ROOT / "docs" / "channels.md").read_text("utf-8")


def table(page: str, heading: str) -> dict[str, tuple[str, ...]]:
    """The rows below a heading, by the name in their first cell."""
    _, _, rest = page.partition(f"# {heading}\n")
    section = re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    return {name: tuple(cell.strip() for cell in cells.split(" | ")) for name, cells in rows}


def test_every_setting_is_documented() -> None:
    fields = Settings.model_fields
    shown = table(README, "Settings")
    assert list(shown) == list(fields)
    for name, field in fields.items():
        default, description = shown[name]
        assert description == field.description, name
        if name != "channels":
            assert default == _default(field.default), name


def test_every_property_of_a_channel_is_documented() -> None:
    fields = {field.name: field for field in dataclasses.fields(Channel)}
    shown = table(CHANNELS, "Properties")
    assert shown.keys() == fields.keys() - {"name"}
    for name, (default, _) in shown.items():
        if name != "path":
            assert default == _default(fields[name].default), name


def _default(value: object) -> str:
    if value in ("", (), frozenset()):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else str(value)
