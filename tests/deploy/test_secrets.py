"""The files for systemd, Compose and Kubernetes pass secrets on as files that the hub reads."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from broadcaster import connect_sync, load_settings
from broadcaster.settings import Settings
from tests.deploy.stack import ROOT

UNIT = (ROOT / "deploy/broadcaster.service").read_text("utf-8")
COMPOSE = yaml.safe_load((ROOT / "deploy/compose-secrets.yml").read_text("utf-8"))
KUBERNETES = ROOT / "deploy/kubernetes"
SECRET = {"tokens": 32 * "t", "operators": "of the operators", "redis": "hunter2"}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A directory with a file for each secret."""
    for name, text in SECRET.items():
        (tmp_path / name).write_text(f"{text}\n")
    return tmp_path


def settings_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a node with this environment, in which no secret is."""
    assert not [
        value for value in environment.values() for text in SECRET.values() if text in value
    ]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def test_a_unit_of_systemd(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = dict(re.findall(r"^LoadCredential=(\w+):(.+)$", UNIT, re.MULTILINE))
    assert loaded == {name: f"/etc/broadcaster/secrets/{name}" for name in SECRET}
    # Quotes that wrap a whole item are removed, and those inside of them stay: systemd.syntax(7).
    items = [shlex.split(text) for text in re.findall(r"^Environment=(.+)$", UNIT, re.MULTILINE)]
    given = dict(item.split("=", 1) for (item,) in items)
    del given["BROADCASTER_CONFIG"]
    given = {name: value.replace("%d", str(secrets)) for name, value in given.items()}
    settings = settings_of(given, monkeypatch)
    assert settings.operators_token == SECRET["operators"]
    (tokens,) = settings.token_secrets
    assert tokens.get_secret_value() == f"file:{secrets}/tokens"
    client: Any = connect_sync(settings.require_redis_url())
    provider = client.connection_pool.connection_kwargs["credential_provider"]
    assert provider.get_credentials() == ("node", SECRET["redis"])


def test_a_file_for_compose(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = COMPOSE["services"]["node"]
    files = {name: one["file"] for name, one in COMPOSE["secrets"].items()}
    assert files == {name: f"${{SECRETS:-./secrets}}/{name}" for name in node["secrets"]}
    given = {n: v.replace("/run/secrets", str(secrets)) for n, v in node["environment"].items()}
    settings = settings_of(given, monkeypatch)
    assert settings.operators_token == SECRET["operators"]
    assert json.loads(given["BROADCASTER_TOKEN_SECRETS"]) == [f"file:{secrets}/tokens"]


def test_the_secrets_of_kubernetes(secrets: Path) -> None:
    deployment = next(yaml.safe_load_all((KUBERNETES / "node.yaml").read_text("utf-8")))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "secrets"]
    (volume,) = [one["secret"] for one in pod["volumes"] if one["name"] == "secrets"]
    assert volume["optional"]  # a hub without tokens has none
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    text = (KUBERNETES / "hub.toml").read_text("utf-8")
    offered = re.findall(r"^# (\w+ = .*file:.*)$", text, re.MULTILINE)
    found = tomllib.loads("\n".join(offered).replace(mount["mountPath"], str(secrets)))
    assert load_settings(**found).operators_token == SECRET["operators"]
    assert found["token_secrets"] == [f"file:{secrets}/tokens"]
    for variable in container["env"]:
        is_secret = "redis" in variable["name"].lower()
        assert is_secret == ("secretKeyRef" in variable.get("valueFrom", {}))
