"""Makes Redis clients from urls.

All clients of this package are made here, so that timeouts, retries and the protocol are decided in
one place. The defaults of redis-py are meant for caches: after a lost answer it would send the
command again. An `XADD` that is sent again is a duplicate event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.asyncio.retry
import redis.cluster
import redis.connection
import redis.retry
from redis.backoff import ExponentialWithJitterBackoff

from broadcaster.backend.driver.cluster import Cluster, SyncCluster
from broadcaster.backend.driver.pools import Pool, SyncPool
from broadcaster.backend.driver.sentinel import (
    SentinelPool,
    Sentinels,
    SyncSentinelPool,
    SyncSentinels,
    sentinel_options,
)
from broadcaster.backend.driver.sockets import NO_PASSWORD, ours
from broadcaster.backend.driver.urls import Target, guarded

AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster
SyncClient: TypeAlias = redis.Redis | redis.cluster.RedisCluster


def connect(
    url: str, *, timeout_s: float | None = 5.0, retries: int = 0, **options: Any
) -> AsyncClient:
    """Make an asynchronous client. No connection is opened before the first command.

    Args:
        url: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (the last two also
            as rediss+…). Its query may hold options, which win over arguments; see
            `driver.options`. `sentinel_…` options are for the sentinels themselves.
        timeout_s: the most seconds to wait for an answer. A reader that blocks needs more than its
            BLOCK. None waits for ever. Connecting takes at most 5 s in any case.
        retries: the most times that a command is sent again after the connection broke. Any number
            but 0 can duplicate commands that are not idempotent, such as `XADD`.
        options: further options of redis-py's connections (`client_name`, `max_connections`, …).

    Raises:
        ConfigurationError: the url can't be used. The message shows no password.
    """
    options = _options(url, timeout_s, redis.asyncio.retry.Retry(_backoff(), retries), options)
    return guarded(url, lambda target: _with_our_connections(_async_client(target, options)))


def connect_sync(
    url: str, *, timeout_s: float | None = 5.0, retries: int = 0, **options: Any
) -> SyncClient:
    """Make a blocking client; arguments as for `connect`.

    Raises:
        ConfigurationError: the url can't be used.
        BackendUnavailableError: no node of the cluster answered (redis-py asks at once for the
            layout of a cluster; other clients open no connection before the first command).
    """
    options = _options(url, timeout_s, redis.retry.Retry(_backoff(), retries), options)
    return guarded(url, lambda target: _sync_client(target, options))


def _backoff() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(base=0.05, cap=1.0)


def _options(
    url: str, timeout_s: float | None, retry: Any, given: dict[str, Any]
) -> dict[str, Any]:
    options: dict[str, Any] = {
        # RESP2: every server and proxy speaks it, and redis-py then asks for no maintenance
        # notifications, which would cost a command for each connection.
        "protocol": 2,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s or 5.0, 5.0),
        "retry": retry,
        "decode_responses": False,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    return options | given


def _of_hosts(
    parse: Callable[[str], Any], target: Target, options: dict[str, Any]
) -> dict[str, Any]:
    """Return all options for a client of several hosts. Options of the url win over ours."""
    parsed = dict(parse(target.url))
    for name in ("host", "port"):
        parsed.pop(name, None)
    ssl = "SSL" in getattr(parsed.pop("connection_class", None), "__name__", "")
    return options | target.options | parsed | ({"ssl": True} if ssl else {})


def _async_client(target: Target, options: dict[str, Any]) -> AsyncClient:
    if target.kind == "single":
        pool = Pool.from_url(target.url, **(options | target.options))
        # redis-py would meet an unknown option only at the first command.
        pool.connection_class(**pool.connection_kwargs)
        return redis.asyncio.Redis.from_pool(pool)
    options = _of_hosts(redis.asyncio.connection.parse_url, target, options)
    if target.kind == "sentinel":
        own = sentinel_options(_socket_options(options)) | target.sentinel_options
        sentinels = Sentinels(  # type: ignore[no-untyped-call]  # redis-py
            target.hosts, sentinel_kwargs=own, **options
        )
        master: redis.asyncio.Redis = sentinels.master_for(
            target.service, connection_pool_class=SentinelPool
        )
        return master
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in target.hosts]
    return Cluster(startup_nodes=nodes, **options)


def _sync_client(target: Target, options: dict[str, Any]) -> SyncClient:
    if target.url.startswith("rediss"):
        options = {"ssl_password": NO_PASSWORD} | options
    if target.kind == "single":
        pool = SyncPool.from_url(target.url, **(options | target.options))
        pool.connection_class(**pool.connection_kwargs)
        return redis.Redis.from_pool(pool)
    options = _of_hosts(redis.connection.parse_url, target, options)
    if target.kind == "sentinel":
        own = sentinel_options(_socket_options(options)) | target.sentinel_options
        sentinels = SyncSentinels(  # type: ignore[no-untyped-call]  # redis-py
            target.hosts, sentinel_kwargs=own, **options
        )
        master: redis.Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
            target.service, connection_pool_class=SyncSentinelPool
        )
        return master
    node = redis.cluster.ClusterNode
    nodes = [node(host, port) for host, port in target.hosts]  # type: ignore[no-untyped-call]
    return SyncCluster(startup_nodes=nodes, **options)


def _with_our_connections(client: AsyncClient) -> AsyncClient:
    if isinstance(client, redis.asyncio.Redis):
        pool = client.connection_pool
        pool.connection_class = ours(pool.connection_class)
        return client
    kwargs = client.connection_kwargs  # the nodes that are found later are made of it
    kwargs["connection_class"] = ours(kwargs["connection_class"])
    for node in client.startup_nodes:
        node.connection_class = kwargs["connection_class"]
    return client


def _socket_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that sentinels share with the master. Credentials are not among them."""
    shared = ("protocol", "retry", "ssl")
    return {k: v for k, v in options.items() if k in shared or k.startswith(("socket_", "ssl_"))}
