"""The Kubernetes manifests: valid for the oldest and the newest version, in agreement with each
other, and with the product, whose node is run here as they would run it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import broadcaster
from broadcaster import EmbeddedRedis, Settings, load_settings
from broadcaster.settings import PREFIX
from tests.command_line import ready, starting
from tests.wait import PATIENCE_S, http_client

DIRECTORY = Path(__file__).parents[2] / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
# No part of Kubernetes itself: kustomize's own files, and what an operator's definitions add.
FOREIGN = ("kustomize.config.k8s.io/", "monitoring.coreos.com/")
# The time for closing connections after a drain. `--workers` allows its processes the same.
CLOSING_S = 10
# Measured: an idle node, and an idle client.
NODE_BYTES, CLIENT_BYTES, EVENT_BYTES = 42_000_000, 12_000, 320  # beside its frame

Document = dict[str, Any]


def documents() -> Iterator[tuple[str, Document]]:
    for path in sorted(DIRECTORY.glob("**/*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            yield str(path.relative_to(DIRECTORY)), document


ALL = list(documents())
NATIVE = [d for _, d in ALL if "kind" in d and not d["apiVersion"].startswith(FOREIGN)]


def of_kind(kind: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for _, d in ALL if d.get("kind") == kind}


DEPLOYMENTS = of_kind("Deployment")
NODE = DEPLOYMENTS["broadcaster-node"]
SERVICE = of_kind("Service")["broadcaster"]
AUTOSCALER = of_kind("HorizontalPodAutoscaler")["broadcaster-node"]


def pod_of(deployment: Document) -> Document:
    spec: Document = deployment["spec"]["template"]["spec"]
    return spec


def container_of(deployment: Document) -> Document:
    (container,) = pod_of(deployment)["containers"]
    return dict(container)


def selected(labels: dict[str, str]) -> set[str]:
    """The deployments whose pods have these labels."""
    return {
        name
        for name, deployment in DEPLOYMENTS.items()
        if labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    }


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The settings that a node gets from the ConfigMap."""
    return load_settings(DIRECTORY / "hub.toml")


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@pytest.mark.parametrize("document", NATIVE, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_every_document_is_valid(document: Document, kubernetes: str) -> None:
    """Strictly: a misspelt property is an error, where the API server would drop it in silence."""
    kubernetes_validate.validate(document, kubernetes, strict=True)


def test_every_file_is_part_of_the_kustomization() -> None:
    for root in (DIRECTORY, DIRECTORY / "ingress", DIRECTORY / "pod-monitor"):
        listed = yaml.safe_load((root / "kustomization.yaml").read_text("utf-8"))["resources"]
        present = {path.name for path in root.glob("*.yaml")}
        assert set(listed) == present - {"kustomization.yaml", "prometheus-adapter.yaml"}


def test_kustomize_builds_it(tmp_path: Path) -> None:
    """With both components, as a user would: all documents valid, and no name left dangling."""
    if not (kustomize := shutil.which("kustomize")):
        pytest.skip("kustomize is not installed")
    shutil.copytree(DIRECTORY, tmp_path / "k")
    for component in ("ingress", "pod-monitor"):
        command = [kustomize, "edit", "add", "component", component]
        subprocess.run(command, cwd=tmp_path / "k", check=True, timeout=PATIENCE_S)
    built = subprocess.check_output([kustomize, "build", str(tmp_path / "k")], timeout=PATIENCE_S)
    found = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(built)}
    for (kind, _), document in found.items():
        if kind != "PodMonitor":
            kubernetes_validate.validate(document, NEWEST, strict=True)
    (config,) = (name for kind, name in found if kind == "ConfigMap")
    (volume, _) = pod_of(found["Deployment", "broadcaster-node"])["volumes"]
    assert volume["configMap"]["name"] == config
    assert found["ConfigMap", config]["data"].keys() == {"hub.toml"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_selects_its_own_pods_alone(name: str) -> None:
    assert selected(DEPLOYMENTS[name]["spec"]["selector"]["matchLabels"]) == {name}


def test_selectors_find_the_nodes() -> None:
    nodes = {"broadcaster-node"}
    policies = of_kind("NetworkPolicy")
    found = [
        SERVICE["spec"]["selector"],
        of_kind("PodDisruptionBudget")["broadcaster-node"]["spec"]["selector"]["matchLabels"],
        of_kind("PodMonitor")["broadcaster-node"]["spec"]["selector"]["matchLabels"],
        policies["broadcaster-node"]["spec"]["podSelector"]["matchLabels"],
        *(c["labelSelector"]["matchLabels"] for c in pod_of(NODE)["topologySpreadConstraints"]),
    ]
    assert [selected(labels) for labels in found] == [nodes] * len(found)
    workers = policies["broadcaster-workers"]["spec"]["podSelector"]["matchLabels"]
    assert selected(workers) == set(DEPLOYMENTS) - nodes
    assert AUTOSCALER["spec"]["scaleTargetRef"]["name"] in nodes


def test_ports_match(settings: Settings) -> None:
    container = container_of(NODE)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "metrics": settings.metrics_port}
    probes = [container[f"{kind}Probe"]["httpGet"]["port"] for kind in PROBES]
    monitored = of_kind("PodMonitor")["broadcaster-node"]["spec"]["podMetricsEndpoints"]
    clients, prometheus = of_kind("NetworkPolicy")["broadcaster-node"]["spec"]["ingress"]
    served = SERVICE["spec"]["ports"]
    assert {*probes, *(p["targetPort"] for p in served)} == {"http"}
    assert [p["port"] for p in clients["ports"]] == ["http"]
    assert [p["port"] for p in (*prometheus["ports"], *monitored)] == ["metrics", "metrics"]
    annotations = NODE["spec"]["template"]["metadata"]["annotations"]
    assert int(annotations["prometheus.io/port"]) == settings.metrics_port
    for path in of_kind("Ingress")["broadcaster"]["spec"]["rules"][0]["http"]["paths"]:
        backend = path["backend"]["service"]
        assert backend["name"] == SERVICE["metadata"]["name"]
        assert backend["port"]["name"] in {port["name"] for port in served}


PROBES = ("startup", "readiness", "liveness")


async def test_the_node_starts_as_written_and_has_the_paths(redis_server: EmbeddedRedis) -> None:
    """The manifest's command and configuration, with a free port and a Redis of ours."""
    container = container_of(NODE)
    variables = {v["name"]: v.get("value", redis_server.url) for v in container["env"]}
    assert Path(variables["BROADCASTER_CONFIG"]).name == "hub.toml"
    ours = {
        "BROADCASTER_CONFIG": str(DIRECTORY / "hub.toml"),
        "BROADCASTER_PORT": "0",
        "BROADCASTER_METRICS_PORT": "0",  # on the same port
    }
    program, *arguments = container["command"]
    assert program == "broadcaster"
    async with starting() as start, http_client() as client:
        node = await start(*arguments, env={**variables, **ours})
        url = await node.url()
        await ready(url)
        for path in probe_paths(container) | metrics_paths():
            assert (await client.get(url + path)).status_code == 200, path


def probe_paths(container: Document) -> set[str]:
    return {container[f"{kind}Probe"]["httpGet"]["path"] for kind in PROBES}


def metrics_paths() -> set[str]:
    (endpoint,) = of_kind("PodMonitor")["broadcaster-node"]["spec"]["podMetricsEndpoints"]
    annotations = NODE["spec"]["template"]["metadata"]["annotations"]
    return {endpoint["path"], annotations["prometheus.io/path"]}


def test_a_node_has_the_time_to_drain(settings: Settings) -> None:
    sleep_s = container_of(NODE)["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = pod_of(NODE)["terminationGracePeriodSeconds"]
    assert grace_s > sleep_s + settings.drain_s + CLOSING_S


def test_an_update_takes_no_node_before_another_is_ready(settings: Settings) -> None:
    spec = NODE["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["minReadySeconds"] * 1000 > settings.retry_max_ms
    assert "replicas" not in spec  # the autoscaler's


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_variables_are_settings(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {PREFIX + "CONFIG"}
    known.add("FORWARDED_ALLOW_IPS")  # uvicorn's own
    pod, container = pod_of(DEPLOYMENTS[name]), container_of(DEPLOYMENTS[name])
    assert {variable["name"] for variable in container["env"]} <= known
    # The cluster's own BROADCASTER_PORT, of a Service `broadcaster`, would be one as well.
    assert SERVICE["metadata"]["name"].upper() + "_PORT" in known
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_secret_is_the_one_that_the_readme_creates(name: str) -> None:
    readme = (DIRECTORY / "README.md").read_text("utf-8")
    (secret,) = (v["valueFrom"] for v in container_of(DEPLOYMENTS[name])["env"] if "valueFrom" in v)
    reference = secret["secretKeyRef"]
    assert f"create secret generic {reference['name']} " in readme
    assert f"--from-literal={reference['key']}=" in readme


def test_one_image_in_this_version() -> None:
    (image,) = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text("utf-8"))["images"]
    assert {container_of(d)["image"] for d in DEPLOYMENTS.values()} == {image["name"]}
    assert image["newTag"] == broadcaster.__version__


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_have_no_more_rights_than_they_need(name: str) -> None:
    """The namespace demands the standard `restricted`; a read-only root comes on top."""
    pod, container = pod_of(DEPLOYMENTS[name]), container_of(DEPLOYMENTS[name])
    labels = of_kind("Namespace")["broadcaster"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_full_node_fits_its_memory(settings: Settings) -> None:
    """Full of clients and of events, with all clients lagging."""
    limit = container_of(NODE)["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    windows = sum(
        channel.window_bytes + EVENT_BYTES * channel.window_events
        for channel in settings.channels.values()
    )
    clients = settings.max_connections * (CLIENT_BYTES + settings.high_water_bytes)
    assert NODE_BYTES + windows + clients < int(limit[:-2]) * 2**20


def test_autoscaling_goes_by_a_metric_that_the_adapter_makes(settings: Settings) -> None:
    (rule,) = next(d["rules"] for file, d in ALL if file == "prometheus-adapter.yaml")
    pods, cpu = AUTOSCALER["spec"]["metrics"]
    assert pods["pods"]["metric"]["name"] == rule["name"]["as"]
    assert int(pods["pods"]["target"]["averageValue"]) == 0.7 * settings.max_connections
    series = rule["seriesQuery"].split("{")[0]
    assert f"`{series}" in (DIRECTORY.parents[1] / "docs" / "metrics.md").read_text("utf-8")
    # A share of what is requested: without a request there is no utilization.
    assert cpu["resource"]["name"] in container_of(NODE)["resources"]["requests"]


def test_the_ingress_survives_quiet_streams(settings: Settings) -> None:
    annotations = of_kind("Ingress")["broadcaster"]["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    assert annotations[prefix + "proxy-buffering"] == "off"
    assert annotations[prefix + "proxy-request-buffering"] == "off"
    assert annotations[prefix + "proxy-body-size"] == "0"
    assert int(annotations[prefix + "proxy-read-timeout"]) > 3 * settings.heartbeat_s
