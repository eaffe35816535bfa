"""Each module has its tests at the same place: `core/sse.py` in `core/test_sse.py`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Modules whose tests are in files of other names, and why.
ELSEWHERE = {
    "broadcaster/__main__.py": "tests/deploy/test_wheel.py",  # which runs the installed package
    "broadcaster/version.py": "tests/deploy/test_wheel.py",  # one literal
    "broadcaster/core/log.py": "tests/backend/test_log.py",  # values that any log gives
    "broadcaster/core/state/values.py": "tests/core/state/test_fold.py",  # values that a fold has
    # values that the machines give:
    "broadcaster/core/resume/steps.py": "tests/core/resume/test_machine.py",
    # both publishers are alike:
    "broadcaster/backend/publishing/sync_publisher.py": (
        "tests/backend/publishing/test_publisher.py"
    ),
    # a run is what its queue gives:
    "broadcaster/backend/runs/run.py": "tests/backend/runs/test_queue.py",
    "broadcaster/backend/runs/values.py": "tests/backend/runs/test_records.py",  # values alone
    "broadcaster/node/runs/events.py": "tests/answers/test_facade.py",  # what answers are made of
    "broadcaster/answers/producing.py": "tests/answers/test_facade.py",  # what clients get of it
    "broadcaster/backend/runs/scripts.py": "tests/backend/runs/test_records.py",  # which calls them
    "broadcaster/commands/finding.py": "tests/commands/test_check.py",  # values alone
    # a folder has one per stream:
    "broadcaster/node/state/folding.py": "tests/node/state/test_folder.py",
    "broadcaster/node/state/flushing.py": "tests/node/state/test_folder.py",
    "broadcaster/settings/node.py": "tests/test_settings.py",  # what an operator sets and reads
    "broadcaster/node/node.py": "tests/test_app.py",  # a node without sockets
    # what is said of what is written:
    "broadcaster/web/publishing/writing.py": "tests/web/publishing/test_endpoint.py",
    # what drives, in its simplest form:
    "broadcaster/core/fanout/driver.py": "tests/core/reading/test_reading.py",
    "broadcaster/web/door.py": "tests/web/test_endpoint.py",  # what is admitted, and how
    "broadcaster/web/replies.py": "tests/web/test_endpoint.py",  # what can be asked, and how
    "broadcaster/web/documents/operation.py": "tests/web/documents/test_openapi.py",  # data
    "broadcaster/web/documents/operations.py": "tests/web/documents/test_openapi.py",  # data
    "broadcaster/web/documents/upkeep.py": "tests/web/documents/test_openapi.py",  # data
    "broadcaster/web/documents/parameters.py": "tests/web/documents/test_openapi.py",  # data
    "broadcaster/web/documents/schemas.py": "tests/web/documents/test_openapi.py",  # data
    "broadcaster/web/documents/view.py": "tests/web/documents/test_openapi.py",  # what is in one
    "broadcaster/web/access/visible.py": "tests/web/test_doors.py",  # what each caller may see
    "broadcaster/web/access/asking.py": "tests/web/access/test_decisions.py",  # what is asked
    "broadcaster/web/access/callers.py": "tests/web/access/test_decisions.py",  # who is asked for
    "broadcaster/web/access/issuing.py": "tests/web/tokens/test_tickets.py",  # what is issued
    "broadcaster/web/ticks.py": "tests/node/test_health.py",  # all works that wait for them
    "broadcaster/web/table.py": "tests/web/test_routes.py",  # what the applications are made of
    "broadcaster/web/serving.py": "tests/web/test_endpoint.py",  # types alone
    "broadcaster/web/asgi_sink.py": "tests/web/test_connection.py",  # which uses it
    "broadcaster/web/uvicorn/offer.py": "tests/web/uvicorn/test_rehearsal.py",  # types alone
    "broadcaster/web/uvicorn/protocol.py": "tests/web/uvicorn/test_rehearsal.py",
    "broadcaster/web/uvicorn/stage.py": "tests/web/uvicorn/test_rehearsal.py",
    "broadcaster/web/uvicorn/server.py": "tests/web/test_retry.py",  # how a server is drained
    "workers/__main__.py": "tests/workers/test_runner.py",  # workers as processes
}


def home(module: str) -> str:
    """Return the file for the tests of a module."""
    path = Path(module.removeprefix("broadcaster/"))
    return str(Path("tests") / path.with_name(f"test_{path.name}"))


def modules() -> list[str]:
    """All modules but those that only say what a package is."""
    found = (path for name in ("broadcaster", "workers") for path in (ROOT / name).rglob("*.py"))
    return sorted(str(p.relative_to(ROOT)) for p in found if p.name != "__init__.py")


def test_each_module_has_a_file_of_tests() -> None:
    missing = [module for module in modules() if not (ROOT / home(module)).exists()]
    assert sorted(set(missing) - set(ELSEWHERE)) == []


def test_the_exceptions_are_those_that_are_needed() -> None:
    for module, tests in ELSEWHERE.items():
        assert (ROOT / module).exists(), module
        assert not (ROOT / home(module)).exists(), f"{module} has its own tests"
        assert "def test_" in (ROOT / tests).read_text("utf-8"), tests
