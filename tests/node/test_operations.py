"""The figures of all nodes: those of now, and what is kept of the last ten minutes."""

from __future__ import annotations

from typing import Any

import orjson

from broadcaster.node.operations import Lookout


class Nodes:
    """Two nodes, as the registry tells of them."""

    def __init__(self) -> None:
        self.clients = 0

    def own_name(self, *, details: bool) -> str:
        return "host:8000" if details else "node-a"

    def figures(self, *, details: bool) -> dict[str, dict[str, Any]]:
        figures = {"clients": self.clients, "deliveries_per_s": 2.5, "lag_ms": 3, "problems": []}
        return {self.own_name(details=details): figures, "b": {"clients": 7}}


class Viewer:
    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


def data(event: bytes, type_: str) -> Any:
    head, line, end, rest = event.split(b"\n")
    assert (head.decode(), end, rest) == (f"event: {type_}", b"", b"")
    return orjson.loads(line.removeprefix(b"data: "))


def test_each_look_has_the_figures_and_wakes_those_that_watch() -> None:
    operations, viewer = Lookout(nodes := Nodes()), Viewer()
    operations.viewers.add(viewer)
    assert operations.newest(details=False) == b""
    nodes.clients = 4
    operations.look(0.0, 1.5)
    look = data(operations.newest(details=False), "operations")
    assert (look["at_ms"], look["node"], viewer.woken) == (1500, "node-a", 1)
    assert look["nodes"]["node-a"]["clients"] == 4
    assert b"host" not in operations.newest(details=False) + operations.history(details=False)
    detailed = data(operations.newest(details=True), "operations")
    assert list(detailed["nodes"]) == ["host:8000", "b"]


def test_ten_minutes_are_kept_a_look_in_five_seconds() -> None:
    operations = Lookout(nodes := Nodes())
    for second in range(700):
        nodes.clients = second
        operations.look(float(second), second)
    kept = data(operations.history(details=False), "history")
    assert len(kept) == 120
    assert kept[-1] == {"at_ms": 695_000, "nodes": {"node-a": [695, 2.5, 3], "b": [7, 0, 0]}}
    assert kept[0]["at_ms"] == 100_000
