"""Answers in a format, through the balancers with the deployed files: whole, cut, or 503."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.answers.test_facade import WORDS, Pod, parts, pod, text_of
from tests.deploy.balancers import ADDRESSES, Balancer, executable, missing
from tests.deploy.test_http2 import certificate
from tests.wait import http_client, until

CHAT = "/api/chat/7"
SHORT: dict[str, dict[str, str]] = {
    "haproxy": {"STREAM_TIMEOUT": "2s"},
    "nginx": {"proxy_read_timeout 60s": "proxy_read_timeout 2s"},
}
TLS: dict[str, dict[str, str]] = {
    "haproxy": {"TLS": "yes"},
    "nginx": {" backlog=4096;": " backlog=4096 ssl http2;"},
}
# Over HTTP/2, HAProxy 2.6 ends a response cleanly that a node has cut. These versions cut it, too.
_HAPROXY_CUTS = (3, 2)
ASKING = {"HTTP/1.1": {"http2": False}, "HTTP/2": {"http2": True}}


def haproxy_version() -> tuple[int, ...]:
    """Return the first two numbers of the version of the HAProxy that is installed."""
    said = subprocess.check_output([executable("haproxy"), "-v"], text=True)
    return tuple(int(number) for number in said.split()[2].split(".")[:2])


class Site:
    """Two pods of an application behind a balancer, which speaks both versions of HTTP."""

    def __init__(self, balancer: Balancer, pods: list[Pod], trusted: ssl.SSLContext) -> None:
        self.balancer, self.pods = balancer, pods
        self._trusted = trusted

    def client(self, version: str) -> httpx.AsyncClient:
        url = f"https://127.0.0.1:{self.balancer.port}"
        return http_client(verify=self._trusted, base_url=url, **ASKING[version])

    async def making(self) -> Pod:
        """Wait until one of the pods has said half of an answer."""
        (found,) = await until(lambda: [pod for pod in self.pods if pod.model.said == 2])
        return found


Sites = Callable[..., Awaitable[Site]]


@pytest.fixture(params=["haproxy", "nginx"])
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str
) -> AsyncIterator[Sites]:
    """Starts it: `changes` to the balancer's configuration; the models wait at their half."""
    if missing(name := request.param):
        pytest.skip(f"{name} is not installed")
    both = certificate(tmp_path)
    (tmp_path / "tls.conf").write_text(f"ssl_certificate {both}; ssl_certificate_key {both};")
    trusted = ssl.create_default_context(cafile=str(both))
    trusted.check_hostname = False
    async with AsyncExitStack() as started:

        async def make(changes: dict[str, dict[str, str]] | None = None, pods: int = 2) -> Site:
            changed = {**TLS[name], **(changes or {}).get(name, {})}
            if name == "haproxy":
                changed["CERTIFICATE"] = str(both)
                if haproxy_version() < _HAPROXY_CUTS:
                    changed["ALPN"] = "http/1.1"
            balancer = Balancer(name, tmp_path, changed)
            made = list[Pod]()
            for address in ADDRESSES[:pods]:
                one = pod(redis_url, host=address, port=balancer.node_port)
                made.append(await started.enter_async_context(one))
                made[-1].model.go.clear()
            balancer.resolver.addresses = list(ADDRESSES[:pods])
            await started.enter_async_context(balancer.running())
            await balancer.used()
            return Site(balancer, made, trusted)

        yield make


def asks(client: httpx.AsyncClient) -> Any:
    return client.stream("POST", CHAT, params={"text": "why?"})


@pytest.mark.parametrize("version", ASKING)
async def test_an_answer_is_whole(site: Sites, version: str) -> None:
    made = await site()
    async with made.client(version) as client, asks(client) as answer:
        old = made.balancer.name == "haproxy" and haproxy_version() < _HAPROXY_CUTS
        spoken = "HTTP/1.1" if old else version
        assert (answer.status_code, answer.http_version) == (200, spoken)
        (await made.making()).model.go.set()
        assert text_of(parts((await answer.aread()).decode())) == "".join(WORDS)


@pytest.mark.parametrize("version", ASKING)
async def test_a_drain_cuts(site: Sites, version: str) -> None:
    made = await site()
    async with made.client(version) as client, asks(client) as answer:
        (await made.making()).answers.hub.state.node.end_responses()
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()


@pytest.mark.parametrize("version", ASKING)
async def test_a_pod_that_stalls_is_cut(site: Sites, version: str) -> None:
    """Not even its comments come, so the balancer gives up."""
    made = await site(SHORT)
    async with made.client(version) as client, asks(client) as answer:
        await made.making()
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()


@pytest.mark.parametrize("version", ASKING)
async def test_without_a_pod_no_request_has_success(site: Sites, version: str) -> None:
    made = await site(pods=0)
    async with made.client(version) as client:
        for answer in (
            await client.post(CHAT, params={"text": "why?"}),
            await client.post("/v1/answers/stream", headers={"accept": "text/event-stream"}),
            await client.get(f"{CHAT}/stream"),
            await client.get("/v1/responses/7?stream=true", headers={"accept": "application/json"}),
            await client.get(
                "/v1/answers/stream?run=1-1&profile=bare", headers={"accept": "text/event-stream"}
            ),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), answer.url
        events = {"accept": "text/event-stream"}
        stream = await client.get("/v1/answers/stream?run=1-1", headers=events)
        assert (stream.status_code, "retry: " in stream.text) == (200, True)
