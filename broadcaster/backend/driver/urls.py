"""Redis urls: parses them, and hides their passwords in messages."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from redis import exceptions

from broadcaster.backend.driver.errors import translated
from broadcaster.backend.driver.options import parse_options, with_credentials
from broadcaster.errors import ConfigurationError

_Client = TypeVar("_Client")

# In such a url, a part of the password may be parsed as host or path.
_CUT_CREDENTIALS = re.compile(r"://[^/?#@]*:[^@]*[/?#].*@")
_MOST_PATH_BYTES = 107  # as in unix(7); other systems have a few less
_DEFAULT_PORT = {"sentinel": 26379, "cluster": 6379}
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::(?P<port>[0-9]{1,5}))?")
_SECRETS = ("password", "sentinel_password", "ssl_password")
_HELP = (
    "a Redis url looks like redis://[user:password@]host:6379/0, rediss://… for TLS, "
    "unix:///path/to/socket, redis+sentinel://host1:26379,host2:26379/MASTERNAME[/0] or "
    "redis+cluster://host1:6379,host2:6379"
)


class Target(NamedTuple):
    """The parts of a url.

    Attributes:
        kind: "single", "sentinel" or "cluster".
        url: a url that redis-py reads, with credentials and database, for every kind.
        hosts: the sentinels, or the servers of the cluster.
        service: the name of the master, for Sentinel.
        options: the options of redis-py's connections.
        sentinel_options: those of the connections to sentinels.
    """

    kind: str
    url: str
    hosts: list[tuple[str, int]]
    service: str
    options: dict[str, Any]
    sentinel_options: dict[str, Any]


def redacted(url: str) -> str:
    """Return the url with `***` for every password, for messages, logs and pages."""
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


def guarded(url: str, make: Callable[[Target], _Client]) -> _Client:
    """Return what `make` makes of the parts of a url.

    Raises:
        ConfigurationError: the url can't be used. The message shows no password.
        BackendUnavailableError: no node of a cluster answered.
    """
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


def _parse(url: str) -> Target:
    scheme, plus, kind = url.partition("://")[0].partition("+")
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"unknown scheme {scheme[:20]!r}")
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    options, own = parse_options(parts.query, tls=scheme == "rediss")
    _refuse_what_would_be_ignored(parts, credentials, options)
    if "password_file" in options and at:
        if ":" in credentials:
            raise ValueError("give a password or password_file, not both")
        options["username"], credentials, at = unquote(credentials), "", ""
    options, own = with_credentials(options), with_credentials(own)
    if not plus:
        where = _place(parts, hosts, options)
        return Target("single", f"{scheme}://{credentials}{at}{where}", [], "", options, own)
    if kind not in _DEFAULT_PORT or scheme == "unix":
        raise ValueError(f"unknown scheme {scheme + plus + kind[:20]!r}")
    service, _, database = parts.path.lstrip("/").partition("/")
    if kind == "sentinel" and not service:
        raise ValueError("the name of the master is missing")
    if kind == "cluster":
        service, database = "", service
    plain = f"{scheme}://{credentials}{at}redis{_database(database, options)}"
    name = unquote(service)
    return Target(kind, plain, _hosts(hosts, _DEFAULT_PORT[kind]), name, options, own)


def _refuse_what_would_be_ignored(
    parts: SplitResult, credentials: str, options: Mapping[str, Any]
) -> None:
    if parts.fragment:
        raise ValueError("a Redis url has no '#'; in a password, it is written %23")
    user, colon, _ = credentials.partition(":")
    if (user and "username" in options) or (colon and "password" in options):
        raise ValueError("user and password come before the host or in the query, not in both")


def _place(parts: SplitResult, hosts: str, options: Mapping[str, Any]) -> str:
    """Return the part of a url after the credentials: one server with its database, or a socket."""
    if parts.scheme != "unix":
        _check_address(parts.hostname or "", parts.port)
        return hosts + _database(parts.path, options)
    if hosts:
        raise ValueError(f"unix:// and a path that begins with '/', not with {hosts[:64]!r}")
    if not parts.path.strip("/"):
        raise ValueError("the path of the Unix socket is missing")
    if len(os.fsencode(unquote(parts.path))) > _MOST_PATH_BYTES:
        raise ValueError(f"the path of a Unix socket has at most {_MOST_PATH_BYTES} bytes")
    return parts.path


def _database(path: str, options: Mapping[str, Any]) -> str:
    """Return the path of a url with its database. The option `db` wins."""
    database = str(options.get("db", path.strip("/")))
    if database and not (database.isascii() and database.isdecimal()):
        # redis-py would silently use database 0.
        raise ValueError(f"{database[:64]!r} is not the number of a database")
    return f"/{database}"


def _hosts(text: str, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None:
            raise ValueError(f"{part[:64]!r} is not host:port")
        host, port = match["host"].strip("[]"), int(match["port"] or default_port)
        _check_address(host, port)
        hosts.append((host, port))
    return hosts


def _check_address(host: str, port: int | None) -> None:
    """Refuse what no attempt to connect could reach.

    Raises:
        ValueError: redis-py would take its default port instead of 0, and looking up the name would
            raise an error that is none of the network's.
    """
    if port is not None and not 0 < port < 1 << 16:
        raise ValueError(f"the port is between 1 and 65535, not {port}")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"{host[:64]!r} is not the name of a host: {error}") from error
