"""The names of `core.wire` are those that clients, operators and readers see."""

import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from broadcaster.core import sse, wire
from broadcaster.core.event import StateFollows, Superseded

ROOT = Path(__file__).parent.parent.parent
WIRE = (ROOT / "docs" / "wire.md").read_text("utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text("utf-8")
TYPES = (ROOT / "clients" / "js" / "src" / "types.ts").read_text("utf-8")
PAGE = "".join(
    path.read_text("utf-8") for path in sorted((ROOT / "broadcaster/web/pages").glob("*.js"))
)


def rows(page: str, *header: str) -> list[tuple[str, ...]]:
    """The cells below a table's header."""
    _, _, rest = page.partition(f"| {' | '.join(header)} |\n")
    assert rest, f"no table has the columns {header}"
    lines = rest.partition("\n\n")[0].splitlines()[1:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def fields_of_the_hub() -> Iterator[tuple[str, ...]]:
    for event in wire.EVENTS:
        if not event.fields:
            yield f"`{event.type}`", "", "", event.meaning
        for field in event.fields:
            name = f"`{field.name}`" + " (optional)" * (not field.required)
            yield f"`{event.type}`", name, field.type, field.meaning


def test_the_documents_have_every_field_of_the_hubs_events() -> None:
    told = rows(WIRE, "event", "field", "type", "means")
    for cells, expected in zip(told, fields_of_the_hub(), strict=True):
        assert cells[:3] == expected[:3]
        assert cells[3].startswith(expected[3])
    assert f"version {wire.VERSION} of the wire" in WIRE


def test_the_documents_have_every_reason() -> None:
    resets = [cells[0] for cells in rows(WIRE, "reason", "the cursor", "it goes on after")]
    assert resets == [f"`{reason}`" for reason in wire.ResetReason]
    shed = rows(WIRE, "reason in the metrics", "comment")
    assert shed == [(f"`{reason}`", reason.text) for reason in wire.Shed]


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        ("connections_opened_total", "sink", wire.SinkKind),
        ("connections_closed_total", "reason", wire.Ending),
        ("connections_shed_total", "reason", wire.Shed),
        ("resumes_total", "outcome", wire.ResumeOutcome),
        ("resets_total", "reason", wire.ResetReason),
    ],
)
def test_the_documents_have_every_value_of_a_label(
    metric: str, label: str, values: type[wire.Ending]
) -> None:
    (row,) = re.findall(rf"^\| `broadcaster_{metric}` .*$", METRICS, re.MULTILINE)
    assert f"`{label}`: {', '.join(f'`{value}`' for value in values)} |" in row


def sent(block: bytes) -> tuple[str, dict[str, object]]:
    lines = dict(line.split(b": ", 1) for line in block.splitlines() if line)
    return lines[b"event"].decode(), orjson.loads(lines[b"data"])


def test_the_hubs_events_have_the_promised_fields() -> None:
    blocks = [sse.at(b"1-0"), sse.live(b"1-0", 3), sse.expired(5, b"1-0")]
    blocks += [sse.reset(s, r, "1-0", "2-0", b"") for s in ("a", "a.1") for r in wire.ResetReason]
    blocks += [sse.reset("a", "invalid", "x", "2-0", b"", state=True)]
    blocks += [sse.state(StateFollows("a", n, 2, "1-0", n == 0), b"") for n in (None, 0)]
    blocks += [sse.waiting(1_500, 500, b"1-0")]
    blocks += [sse.superseded(Superseded("a", n, 2), b"1-0") for n in (None, 0)]
    shapes = {event.type: event.fields for event in wire.EVENTS}
    types = {"integer": int, "string": str, "boolean": bool}
    seen: set[tuple[str, str]] = set()
    for type_, data in map(sent, blocks):
        fields = {field.name: field for field in shapes[type_]}
        assert [name for name in fields if name in data] == list(data)  # none more, in this order
        for name, field in fields.items():
            assert name in data or not field.required
            assert isinstance(data.get(name, types[field.type]()), types[field.type])
            assert not field.values or data[name] in field.values
        seen.update((type_, name) for name in data)
    assert seen == {(event.type, field.name) for event in wire.EVENTS for field in event.fields}


def test_the_hubs_events_have_types_that_no_producer_can_use() -> None:
    assert all(event.type.startswith(wire.RESERVED_PREFIX) for event in wire.EVENTS)


def test_the_page_hears_each_of_the_hubs_events_and_reads_only_fields_that_they_have() -> None:
    heard = re.findall(rf'"({re.escape(wire.RESERVED_PREFIX)}[a-z.]+)"', PAGE)
    assert sorted(set(heard)) == [event.type for event in wire.EVENTS]
    reset = {field.name for field in wire.RESET.fields}
    assert set(re.findall(r"\breset\.([a-z]+)\b", PAGE)) - {"hidden"} <= reset


def test_the_types_of_the_javascript_client_have_every_field_of_the_hubs_events() -> None:
    _, _, rest = TYPES.partition("interface HubEvents {\n")
    text = re.sub(r"/\*\*.*?\*/", "", rest.partition("\n}\n")[0])
    typed = dict(re.findall(r'"([a-z.]+)": (\{[^}]*\}|unknown);', text))
    names = {"integer": "number"}
    for event in set(wire.EVENTS) - {wire.AT}:  # that one the client keeps for itself
        fields = set(re.findall(r"(\w+)(\??): (\w+)", typed.pop(event.type)))
        assert fields == {
            (field.name, "" if field.required else "?", names.get(field.type, field.type))
            for field in event.fields
        }, event.type
    assert not typed
