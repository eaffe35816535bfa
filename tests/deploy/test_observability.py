"""Prometheus's configuration and alerts, and Grafana's dashboard: they read metrics that exist,
every alert fires when it should and at no other time, and has a page that says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.alert_cases import CASES, HEALTHY, Case, Series
from tests.wait import PATIENCE_S

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
# Made by Prometheus itself, and by prometheus-client's collector for the process.
OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
AT = "100m"

RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((GRAFANA / "dashboards" / "broadcaster.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ROWS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]


def in_rules() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)


def on_dashboard() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def documented() -> set[str]:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    return set(re.findall(r"^\| *`([a-z_]+)", page, re.MULTILINE))


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression reads; a histogram's by its own name."""
    names = re.findall(r"\b(?:broadcaster|process)_[a-z_]+|\bup\b", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def promtool(*arguments: str | Path) -> str:
    """Run promtool; returns its output."""
    if not (program := shutil.which("promtool")):
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus")
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("reader", "expression"), [*in_rules(), *on_dashboard()])
def test_metrics_that_are_read_exist(reader: str, expression: str) -> None:
    read = metrics_of(expression)
    assert read, f"{reader} reads nothing"
    assert read <= documented() | OTHERS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["for"]
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    file, anchor = rule["annotations"]["runbook"].split("#")
    assert anchor == rule["alert"].lower()
    page = (ROOT / file).read_text("utf-8")
    assert re.search(rf"^#+ {rule['alert']}$", page, re.MULTILINE), f"no heading in {file}"


def test_every_alert_has_its_case() -> None:
    assert [case.alert for case in CASES] == [rule["alert"] for rule in RULES]


def test_prometheus_accepts_its_configuration() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "config", PROMETHEUS / "prometheus.yml")
    lint = ("--lint=all", "--lint-fatal")
    promtool("check", "rules", *lint, PROMETHEUS / "alerts.yml")


def test_prometheus_finds_the_nodes_of_the_compose_file() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (discovery,) = jobs["broadcaster"]["dns_sd_configs"]
    assert discovery["names"] == ["node"]
    assert (discovery["type"], discovery["port"]) == ("A", 9000)
    assert 'BROADCASTER_METRICS_PORT: "9000"' in (ROOT / "docker-compose.yml").read_text("utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should(case: Case, tmp_path: Path) -> None:
    """It, and no other."""
    check(case.bad, {case.alert}, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_is_silent_when_it_should(case: Case, tmp_path: Path) -> None:
    check(case.good, set(), tmp_path)


def test_healthy_nodes_raise_no_alert(tmp_path: Path) -> None:
    check({}, set(), tmp_path)


def check(differing: Series, firing: set[str], directory: Path) -> None:
    """Have promtool evaluate the rules for two hours, and compare the alerts that fire."""
    query = 'group by (alertname) (ALERTS{alertstate="firing"})'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)]
    series = [{"series": k, "values": v} for k, v in {**HEALTHY, **differing}.items()]
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": query, "eval_time": AT, "exp_samples": samples}],
    }
    rules = {"rule_files": [str(PROMETHEUS / "alerts.yml")], "evaluation_interval": "1m"}
    path = directory / "test.yml"
    path.write_text(yaml.safe_dump({**rules, "tests": [test]}), "utf-8")
    promtool("test", "rules", path)


def test_every_metric_is_on_the_dashboard() -> None:
    """Each metric of a node appears on the dashboard."""
    shown = {name for panel in PANELS for t in panel["targets"] for name in metrics_of(t["expr"])}
    assert documented() - shown == set()


def test_panels_describe_bad_values_and_have_units() -> None:
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len(panel["description"].split()) >= 10, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all("$instance" in target["expr"] for target in panel["targets"])
    assert [row["title"] for row in ROWS] == ["Overview", "Clients", "Streams", "Nodes"]


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert x + w <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_variables_are_defined() -> None:
    text = json.dumps(DASHBOARD["panels"])
    used = set(re.findall(r"\$\{?([a-z_]+)\}?", text)) - {"__rate_interval"}
    assert used == {variable["name"] for variable in DASHBOARD["templating"]["list"]}


def test_prometheus_understands_the_dashboard(tmp_path: Path) -> None:
    """Each expression as a recording rule, for promtool to check."""
    known = {"$__rate_interval": "1m", "$instance": ".*", "$stream": ".*"}
    rules = []
    for number, (_, expression) in enumerate(on_dashboard()):
        for variable, value in known.items():
            expression = expression.replace(variable, value)
        rules.append({"record": f"panel:{number}", "expr": expression})
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), "utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = GRAFANA / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))
    (source,) = sources["datasources"]
    assert source["url"] == "http://prometheus:9090"
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    (provider,) = yaml.safe_load(
        (provisioning / "dashboards" / "broadcaster.yml").read_text("utf-8")
    )["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert DASHBOARD["uid"] == "broadcaster"
