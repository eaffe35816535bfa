"""The one table of routes, and what has to agree with it: reserved paths and balancers' files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broadcaster.app import create_app
from broadcaster.core.catalogue import OUR_PATHS
from broadcaster.settings import load_settings
from broadcaster.web.table import APART, CLIENTS, OPERATORS, TABLE, TableRow

DEPLOY = Path(__file__).parents[2] / "deploy"
HAPROXY = (DEPLOY / "haproxy.cfg").read_text("utf-8")
NGINX = (DEPLOY / "nginx.conf").read_text("utf-8")
INGRESS = (DEPLOY / "kubernetes" / "ingress" / "ingress.yaml").read_text("utf-8")

OF_OPERATORS_ALONE = [row for row in TABLE if row.applications <= {OPERATORS, APART}]
PAGES = [row for row in TABLE if CLIENTS in row.applications and row.answer]
STREAMS = [
    *(row.path for row in TABLE if not row.answer),
    *(channel.path for channel in load_settings().channels.values()),
]


def example(path: str) -> str:
    """A path with its names filled in."""
    return re.sub(r"\{\w+\}", "x7", path)


def test_the_paths_that_no_channel_may_have_are_those_of_the_table() -> None:
    assert sorted(OUR_PATHS) == sorted({row.path for row in TABLE})


@pytest.mark.parametrize("metrics_port", [0, 9000])
def test_each_application_has_its_routes(metrics_port: int) -> None:
    app = create_app(load_settings(redis_url="redis://unused", metrics_port=metrics_port))
    paths = {getattr(route, "path", "") for route in app.routes}
    theirs = {getattr(route, "path", "") for route in app.operators.routes}
    assert theirs == {row.path for row in TABLE if row.applications & {OPERATORS, APART}}
    assert paths == {
        row.path
        for row in TABLE
        if row.answer and (CLIENTS in row.applications or not metrics_port)
        if row.applications != {APART}
    }


def test_what_changes_something_is_on_clients_port_only_with_a_token() -> None:
    settings = load_settings(redis_url="redis://unused", operators_token="of-operators")
    assert "/v1/revocations" in {
        getattr(route, "path", "") for route in create_app(settings).routes
    }


def in_haproxy(name: str, path: str) -> bool:
    """Return True if an `acl` of the file is true for a path."""
    for line in re.findall(rf"^ *acl {name} (.*)$", HAPROXY, re.MULTILINE):
        fetch, *words = line.split()
        how = "beg" if fetch == "path_beg" else "str"
        if words[0] == "-m":
            how, words = words[1], words[2:]
        if any(path.startswith(word) if how == "beg" else path == word for word in words):
            return True
    return False


def of_nginx(path: str) -> str:
    """The directives for a path: what is in the braces of its location."""
    found = re.findall(r"location (\S+(?: \S+)?) \{\n((?:.*\n)*?) *\}", NGINX)
    exact = [body for where, body in found if where == f"= {path}"]
    best = [body for where, body in found if where[:3] == "^~ " and path.startswith(where[3:])]
    regular = [b for where, b in found if where[:2] == "~ " and re.search(where[2:], path)]
    rest = [body for where, body in found if where == "/"]
    body: str = [*exact, *best, *regular, *rest][0]
    return body


@pytest.mark.parametrize("row", OF_OPERATORS_ALONE, ids=lambda row: row.path)
def test_balancers_hide_operators_routes(row: TableRow) -> None:
    assert in_haproxy("hidden", row.path)
    directives = of_nginx(row.path).split()
    assert directives[-2:] == ["return", "404;"]
    assert "proxy_pass" not in directives


@pytest.mark.parametrize("row", PAGES, ids=lambda row: row.path)
def test_a_status_of_a_page_reaches_its_reader(row: TableRow) -> None:
    path = example(row.path)
    assert in_haproxy("page", path)
    assert not in_haproxy("hidden", path)
    assert "@come_back" not in of_nginx(path)
    assert "proxy_pass" in of_nginx(path)


@pytest.mark.parametrize("path", STREAMS)
def test_a_status_of_a_stream_is_always_200(path: str) -> None:
    assert not in_haproxy("page", example(path))
    assert not in_haproxy("hidden", example(path))
    assert "error_page 502 503 504 = @come_back;" in of_nginx(example(path))


def test_the_ingress_passes_on_clients_routes() -> None:
    rules = re.findall(r"- path: (\S+)\n +pathType: (\w+)", INGRESS)

    def passes(path: str) -> bool:
        return any(
            path == rule or (kind == "Prefix" and path.startswith(rule.rstrip("/") + "/"))
            for rule, kind in rules
        )

    paths = {*STREAMS, *(row.path for row in PAGES)} - {"/healthz", "/readyz"}
    assert all(passes(example(path)) for path in paths)
    assert not passes("/metrics")
    assert not passes("/healthz")
    assert not passes("/readyz")
    # Of /v1 it passes on everything, so what is of operators must have a port of its own.
    assert "metrics_port = " in (DEPLOY / "kubernetes" / "hub.toml").read_text("utf-8")
