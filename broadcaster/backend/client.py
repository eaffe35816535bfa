"""Redis clients from urls, and how to tell trouble that passes from trouble that stays.

Every client of ours is made here, so that timeouts, retries and the protocol are decided in one
place instead of by the defaults of redis-py, which are meant for caches: it would send a command
again when the answer was lost, and an `XADD` sent again is a duplicate event.

Part of `backend`, the only importer of redis; it knows nothing of events.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.asyncio.retry
import redis.cluster
import redis.connection
import redis.retry
from redis import exceptions
from redis.backoff import ExponentialWithJitterBackoff

from broadcaster.backend.cluster import Cluster, SyncCluster
from broadcaster.backend.connection import ours
from broadcaster.backend.sentinel import (
    SentinelPool,
    Sentinels,
    SyncSentinelPool,
    SyncSentinels,
    sentinel_options,
)
from broadcaster.errors import BackendUnavailableError, BroadcasterError, ConfigurationError

AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.cluster.RedisCluster
SyncClient: TypeAlias = redis.Redis | redis.cluster.RedisCluster
_Client = TypeVar("_Client")

# What is read as a host or a path of such a url may be a part of the password.
_CUT_CREDENTIALS = re.compile(r"://[^/?#@]*:[^@]*[/?#].*@")

UNAVAILABLE: tuple[type[Exception], ...] = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterError,  # also: sent from one node to the other for too long
    exceptions.AskError,  # a slot that moved in the middle of a transaction
    exceptions.TryAgainError,
    # What the cluster client raises when no node answers; it is not a RedisError.
    exceptions.RedisClusterException,
    OSError,  # and with it the TimeoutError of asyncio
)
"""What code that waits and tries again has to catch: Redis is away, starting, or failing over."""

# Refusals that pass but have no exception class of their own in redis-py: a full disk, replicas
# that are missing, memory that is used up, a blocked read on a master that is demoted.
_REFUSALS_THAT_PASS = (
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "command not allowed when used memory",
    "UNBLOCKED",
)
_DEFAULT_PORT = {"sentinel": 26379, "cluster": 6379}
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::(?P<port>[0-9]{1,5}))?")
_SECRETS = ("password", "sentinel_password", "ssl_password")
_HELP = (
    "a Redis url looks like redis://[user:password@]host:6379/0, rediss://… for TLS, "
    "unix:///path/to/socket, redis+sentinel://host1:26379,host2:26379/MASTERNAME[/0] or "
    "redis+cluster://host1:6379,host2:6379"
)


class _Target(NamedTuple):
    """A url, taken apart."""

    kind: str  # "single", "sentinel" or "cluster"
    url: str  # a url that redis-py reads: credentials, database and options, for every kind
    hosts: list[tuple[str, int]]
    service: str  # the name of the master, for Sentinel


def connect(
    url: str, *, timeout_s: float | None = 5.0, retries: int = 0, **options: Any
) -> AsyncClient:
    """Make an asynchronous client. No connection is opened before the first command.

    Args:
        url: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (the last two also
            as rediss+…). Its query may hold any option of redis-py and wins over arguments.
            `sentinel_username` and `sentinel_password` are for the sentinels themselves.
        timeout_s: the most seconds to wait for an answer; a reader that blocks needs more than its
            BLOCK. None waits for ever. Connecting takes at most 5 s in any case.
        retries: how often a command is sent again after trouble with the connection. Anything but
            0 makes duplicates of commands that are not idempotent, `XADD` among them.
        options: further options of redis-py's connections (`client_name`, `max_connections`, …).

    Raises:
        ConfigurationError: the url can't be used. The message shows no password.
    """
    options = _options(url, timeout_s, redis.asyncio.retry.Retry(_backoff(), retries), options)
    return _guarded(url, lambda target: _with_our_connections(_async_client(target, options)))


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
    return _guarded(url, lambda target: _sync_client(target, options))


def redacted(url: str) -> str:
    """The url with `***` for every password: for messages, logs and pages."""
    scheme, separator, rest = url.partition("://")
    base, mark, query = rest.partition("?")
    if "@" in query:
        # An unescaped "?" or "@" in some password: nothing says where it begins or ends.
        return f"{scheme}{separator}***"
    credentials, at, tail = base.rpartition("@")
    user, colon, password = credentials.partition(":")
    if colon or "/" in user or "@" in user:
        user, password = (user, ":***") if colon else ("***", "")
    query = re.sub(rf"\b({'|'.join(_SECRETS)})=[^&#]*", r"\1=***", query)
    return scheme + separator + user + password + at + tail + mark + query


def raw_stream_replies(client: AsyncClient) -> None:
    """Make `XREAD`, `XRANGE` and `XREVRANGE` of this client return plain lists.

    A reply is then `[[id, [name, value, name, value, …]], …]`, all bytes, the same for RESP2 and
    RESP3, and on Cluster. `XREAD` must be asked for one stream and returns that stream's entries,
    `[]` when its BLOCK has passed. Entries without fields (deleted) are left out. Building no
    dict for each entry is half of the cost of reading a stream.
    """
    client.set_response_callback("XREAD", entries_of_one_stream)
    client.set_response_callback("XRANGE", entries)
    client.set_response_callback("XREVRANGE", entries)


def connections_made(client: AsyncClient) -> int:
    """How many connections this client has opened: if the number grows, a command may have gone
    to another server than the one before it, although no error told of it."""
    pool_or_options: Any = (
        vars(client.connection_pool)
        if isinstance(client, redis.asyncio.Redis)
        else client.connection_kwargs
    )
    made: int = getattr(pool_or_options["connection_class"], "made", 0)
    return made


def is_unavailable(error: BaseException | None) -> bool:
    """Whether trying again later may help."""
    if isinstance(error, UNAVAILABLE):
        return True
    return isinstance(error, exceptions.ResponseError) and str(error).startswith(
        _REFUSALS_THAT_PASS
    )


def translated(error: BaseException | None, doing: str) -> BroadcasterError:
    """The error of ours that tells a user what redis-py's error means.

    Args:
        error: what redis-py raised.
        doing: what was being tried, for the message: "publish to inventory".
    """
    said = str(error) or type(error).__name__
    if is_unavailable(error):
        return BackendUnavailableError(f"could not {doing}: Redis is not available now: {said}")
    return ConfigurationError(f"could not {doing}: Redis refused it for good: {said}")


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


def _guarded(url: str, make: Callable[[_Target], _Client]) -> _Client:
    """Call `make` with the parts of the url; whatever is wrong with it becomes one clear error."""
    try:
        return make(_parse(url))
    except (exceptions.RedisClusterException, exceptions.ConnectionError) as error:
        if "connected" in str(error) or isinstance(error, exceptions.ConnectionError):
            raise translated(error, f"connect to {redacted(url)}") from error
        problem = str(error)
    except (ValueError, TypeError, exceptions.RedisError) as error:
        problem = str(error)
    if _CUT_CREDENTIALS.search(url):
        problem = "if '/', '?' or '#' is in the password, write %2F, %3F or %23"
    # Raised out of the except block, so that no traceback shows the url that redis-py quotes.
    raise ConfigurationError(f"{redacted(url)!r} can't be used ({problem}): {_HELP}")


def _parse(url: str) -> _Target:
    scheme, plus, kind = url.partition("://")[0].partition("+")
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"unknown scheme {scheme[:20]!r}")
    if not plus:
        database = urlsplit(url).path.strip("/")
        if scheme != "unix" and database and not database.isdecimal():
            # redis-py would take database 0 without a word.
            raise ValueError(f"{database[:64]!r} is not the number of a database")
        return _Target("single", url, [], "")
    if kind not in _DEFAULT_PORT or scheme == "unix":
        raise ValueError(f"unknown scheme {scheme + plus + kind[:20]!r}")
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.lstrip("/").partition("/")
    if kind == "sentinel" and not service:
        raise ValueError("the name of the master is missing")
    if kind == "cluster":
        service, database = "", service
    plain = f"{scheme}://{credentials}{at}redis/{quote(database)}?{parts.query}"
    return _Target(kind, plain, _hosts(hosts, _DEFAULT_PORT[kind]), unquote(service))


def _hosts(text: str, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None:
            raise ValueError(f"{part[:64]!r} is not host:port")
        hosts.append((match["host"].strip("[]"), int(match["port"] or default_port)))
    return hosts


def _split_sentinel_options(url: str) -> tuple[str, dict[str, str]]:
    """Take `sentinel_username` and `sentinel_password` out of the query."""
    base, _, query = url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    own = {k.removeprefix("sentinel_"): v for k, v in pairs if k.startswith("sentinel_")}
    return f"{base}?{urlencode([p for p in pairs if not p[0].startswith('sentinel_')])}", own


def _from_url(parse: Callable[[str], Any], url: str, options: dict[str, Any]) -> dict[str, Any]:
    """All options for a client of several hosts: ours, and those of the url, which win."""
    parsed = dict(parse(url))
    for name in ("host", "port"):
        parsed.pop(name, None)
    ssl = "SSL" in getattr(parsed.pop("connection_class", None), "__name__", "")
    return options | parsed | ({"ssl": True} if ssl else {})


def _async_client(target: _Target, options: dict[str, Any]) -> AsyncClient:
    if target.kind == "single":
        client = redis.asyncio.Redis.from_url(target.url, **options)
        # redis-py would meet an unknown option only at the first command.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
        return client
    url, own = _split_sentinel_options(target.url)
    options = _from_url(redis.asyncio.connection.parse_url, url, options)
    if target.kind == "sentinel":
        own = sentinel_options(_socket_options(options)) | own
        sentinels = Sentinels(  # type: ignore[no-untyped-call]  # redis-py
            target.hosts, sentinel_kwargs=own, **options
        )
        master: redis.asyncio.Redis = sentinels.master_for(
            target.service, connection_pool_class=SentinelPool
        )
        return master
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in target.hosts]
    return Cluster(startup_nodes=nodes, **options)


def _sync_client(target: _Target, options: dict[str, Any]) -> SyncClient:
    if target.kind == "single":
        client = redis.Redis.from_url(target.url, **options)
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
        return client
    url, own = _split_sentinel_options(target.url)
    options = _from_url(redis.connection.parse_url, url, options)
    if target.kind == "sentinel":
        own = sentinel_options(_socket_options(options)) | own
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
    """What a connection to a sentinel shares with one to the master: not its credentials."""
    shared = ("protocol", "retry", "ssl", "ssl_ca_certs", "ssl_cert_reqs", "ssl_check_hostname")
    return {k: v for k, v in options.items() if k in shared or k.startswith("socket_")}


def entries(response: Any, **_: Any) -> list[Any]:
    """The entries of a raw reply of `XRANGE` or `XREVRANGE`, without those that have no fields."""
    return [entry for entry in response or () if entry is not None and entry[1] is not None]


def entries_of_one_stream(response: Any, **_: Any) -> list[Any]:
    """The entries of a raw reply of `XREAD`."""
    if not response:
        return []
    # RESP3 sends a map from stream to entries, RESP2 a list of [stream, entries].
    (found,) = response.values() if isinstance(response, dict) else [response[0][1]]
    return entries(found)
