"""The compose file, the balancers' files and the hub agree."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from broadcaster import Settings
from tests.deploy.stack import DEPLOYMENT, ROOT, page_commands

COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
# The image says where to listen. A name would be that of all nodes. The balancer speaks TLS.
FIXED = {"host", "port", "node_name", "tls_certificate", "tls_key"}


def test_every_setting_can_be_given_to_the_nodes() -> None:
    passed = set(re.findall(r"^      BROADCASTER_(\w+):", COMPOSE, re.MULTILINE))
    assert passed == {name.upper() for name in Settings.model_fields.keys() - FIXED}


def test_the_documents_show_each_variable_with_its_default() -> None:
    """All but images and the build's arguments, which are a matter of the machine."""
    read = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", re.sub("#.*", "", COMPOSE)))
    shown = dict(_variables(DEPLOYMENT.read_text("utf-8")))
    left_out = {name for name in read if name.endswith("_IMAGE") or name.startswith("PIP_")}
    assert shown.keys() == read.keys() - left_out
    for name, default in shown.items():
        assert default in (read[name], "none" if name in _OFF else ""), name


# Empty, or what stands for it, turns these off.
_OFF = {"TLS_CERTIFICATE", "CORS_ORIGINS", "CORS_CREDENTIALS"}


def _variables(page: str) -> Iterator[tuple[str, str]]:
    """The rows of the table, also those of several variables with a default each."""
    _, _, rest = page.partition("| variable |")
    for names, defaults in re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", rest, re.MULTILINE):
        for name, default in zip(names.split(", "), defaults.split(", "), strict=True):
            if "…" not in name:
                yield name.strip("`"), default.strip("`")


def test_the_documents_have_compose_commands() -> None:
    assert any("--scale node=" in command for command in page_commands())


def test_timeouts_are_above_three_heartbeats() -> None:
    least_s = 3 * Settings.model_fields["heartbeat_s"].default
    nginx = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
    haproxy = (ROOT / "deploy" / "haproxy.cfg").read_text("utf-8")
    found = [
        *re.findall(r"(?:proxy_read|send)_timeout (\d+)s;", nginx),
        *re.findall(r"presetenv STREAM_TIMEOUT (\d+)s", haproxy),
        *re.findall(r"STREAM_TIMEOUT:-(\d+)s", COMPOSE),
    ]
    assert len(found) == 4
    assert all(int(seconds) > least_s for seconds in found)


def test_no_two_sections_of_haproxy_have_one_name() -> None:
    """Resolvers count as well: HAProxy 3.2 refuses a backend that is called like them."""
    text = (ROOT / "deploy" / "haproxy.cfg").read_text("utf-8")
    kinds = "frontend|backend|listen|resolvers|peers|ring|log-forward"
    names = re.findall(rf"^(?:{kinds}) (\S+)", text, re.MULTILINE)
    assert sorted(names) == ["dns", "nodes", "public", "statistics"]


def test_a_node_has_the_time_to_drain() -> None:
    (grace_s,) = re.findall(r"STOP_GRACE_PERIOD:-(\d+)s", COMPOSE)
    assert int(grace_s) >= Settings.model_fields["drain_s"].default + 10


def test_the_image_has_what_the_package_needs_and_no_more() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / name).read_text("utf-8")
        return set(re.findall(r"^[\w.-]+==\S+", text, re.MULTILINE))

    runtime = pins("requirements-runtime.lock")
    assert runtime < pins("requirements.lock")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.match(r"[\w.-]+", line)[0] for line in needed}  # type: ignore[index]
    assert names <= {pin.partition("==")[0] for pin in runtime}


def test_the_base_image_is_the_same_with_and_without_compose() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"PYTHON_IMAGE:-{re.findall('PYTHON_IMAGE=(.+)', dockerfile)[0]}}}" in COMPOSE


def test_a_starlette_that_finds_routes_by_the_host_header_is_excluded() -> None:
    """CVE-2026-48710, up to 1.0.0: a malformed `Host` changes the path of `request.url`."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (least,) = [line.partition(">=")[2] for line in needed if line.startswith("starlette")]
    assert tuple(map(int, least.split("."))) >= (1, 3, 1)
