"""`broadcaster check`: checks settings, Redis and this machine before a node starts.

Every warning and problem says what to do about it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import click

from broadcaster.backend.driver.urls import redacted
from broadcaster.backend.probe import Probe
from broadcaster.commands import checkpoints
from broadcaster.commands.finding import Finding, Level
from broadcaster.commands.logs import printable
from broadcaster.core.access.revocations import Revocations
from broadcaster.core.state.checkpoint import named
from broadcaster.errors import BackendUnavailableError, ConfigurationError
from broadcaster.settings import PREFIX, Settings, unknown_variables
from broadcaster.settings.schemas import Schemas

_COLORS: dict[Level, str] = {"ok": "green", "warning": "yellow", "problem": "red"}
_MIN_REDIS = (7, 0)
_MIN_VALKEY = (8, 0)
_OTHER_FILES = 100
_MANY_SHARDS = 250
_POSITION_BYTES = 17  # `=1795374291043-0,`
_FULL = 0.9


def findings(settings: Settings) -> Iterator[Finding]:
    """Run all checks: settings, then this machine, then Redis.

    Yields:
        One finding per check.

    Raises:
        ConfigurationError: the url of Redis is not valid.
    """
    yield Finding("ok", "settings", f"{len(settings.channels)} channels: {_names(settings)}")
    yield from _variables()
    yield from _ids(settings)
    yield from _schemas(settings)
    yield from _tokens(settings)
    yield _files(settings)
    yield from _redis(settings)


def report(found: Iterable[Finding]) -> int:
    """Print each finding as it arrives.

    Returns:
        The exit status: 1 if there is a problem, else 0.
    """
    worst = 0
    for level, subject, text, advice in found:
        label = click.style(f"{level:8}", fg=_COLORS[level], bold=level != "ok")
        click.echo(f"{label} {printable(subject)}: {printable(text)}")
        if advice:
            click.echo(f"{'':8} -> {printable(advice)}")
        worst |= level == "problem"
    return worst


def _names(settings: Settings) -> str:
    return ", ".join(sorted(settings.channels))


def _variables() -> Iterator[Finding]:
    for name, advice in unknown_variables().items():
        yield Finding("warning", "environment", f"{name} is not a setting, so ignored", advice)


def _ids(settings: Settings) -> Iterator[Finding]:
    """Warn about ids that may be longer than proxies let a header be."""
    for channel in settings.channels.values():
        if channel.shards > _MANY_SHARDS:
            size = sum(len(name) + _POSITION_BYTES for name in channel.streams)
            yield Finding(
                "warning",
                f"channel {channel.name}",
                f"{channel.shards} shards make ids of {size} bytes; many proxies refuse a header "
                "above 8192",
                "use fewer shards, or raise the proxies' limits: deploy/nginx.conf and "
                f"deploy/haproxy.cfg take 32 KB, and max_head_bytes is {settings.max_head_bytes}",
            )


def _schemas(settings: Settings) -> Iterator[Finding]:
    """Read the files of schemas as a node does at its start."""
    for name, channel in settings.channels.items():
        if channel.schemas:
            try:
                Schemas({name: channel})
            except ConfigurationError as error:
                yield Finding("problem", "schemas", str(error), "a node does not start with it")
            else:
                text = f"{len(channel.schemas)} JSON Schemas of event types"
                yield Finding("ok", f"channel {name}", text)


def _tokens(settings: Settings) -> Iterator[Finding]:
    """Read the keys of tokens as a node does at its start. The urls of keys are not asked."""
    if not settings.token_secrets and not settings.token_keys:
        return
    from broadcaster.web.tokens import setup  # most hubs need no cryptography for their checks

    try:
        setup.make_reader(settings, setup.make_tickets(settings, None), Revocations())
    except ConfigurationError as error:
        yield Finding("problem", "tokens", str(error), "a node does not start with it")
        return
    count = len(settings.token_secrets) + len(settings.token_keys)
    yield Finding("ok", "tokens", f"{count} settings of keys can be used")


def _files(settings: Settings) -> Finding:
    if sys.platform == "win32":
        return Finding("ok", "open files", "not limited on this system")
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + _OTHER_FILES
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return Finding("ok", "open files", f"enough for {settings.max_connections} clients")
    return Finding(
        "warning",
        "open files",
        f"at most {hard}, but max_connections is {settings.max_connections} a process",
        f"raise the limit to {wanted} (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile of "
        f"docker) or set max_connections to {max(1, hard - _OTHER_FILES)}",
    )


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        yield Finding(
            "problem",
            "redis",
            "no url is set",
            f"give --redis-url, {PREFIX}REDIS_URL or redis_url in the configuration file",
        )
        return
    try:
        with closing(Probe(settings.redis_url)) as probe:
            yield Finding("ok", "redis", f"{redacted(settings.redis_url)} answers")
            yield from of_server(probe.info())
            yield from _time(probe)
            for channel in settings.channels.values():
                for name, redis_key in channel.streams.items():
                    yield from _stream(probe, name, redis_key)
                    if rules := channel.state_rules:
                        yield checkpoints.found(probe, name, redis_key, named(rules))
                if channel.requests:
                    yield _requests(probe, channel.name, channel.requests)
    except BackendUnavailableError as error:
        yield _unreachable(str(error))


def _unreachable(said: str) -> Finding:
    if re.search("password|auth|WRONGPASS|NOAUTH", said, re.IGNORECASE):
        return Finding("problem", "redis", said, "check user and password of the url")
    return Finding(
        "problem",
        "redis",
        said,
        "check host and port, that the server runs, and that this machine may connect to it",
    )


def of_server(info: dict[str, Any]) -> Iterator[Finding]:
    """Check the fields of a server's `INFO`. They are empty if the user may not run `INFO`."""
    if not info:
        yield Finding(
            "warning",
            "redis",
            "this user may not run INFO: version, eviction and persistence are not checked",
            "run this once as a user with +info",
        )
        return
    yield _version(info)
    yield _eviction(info)
    yield from _memory(info)
    yield from _persistence(info)
    if info.get("role") == "slave":
        yield Finding(
            "warning",
            "replication",
            "this is a replica: nothing can be published or requested there",
            "use the master's address, or a redis+sentinel:// url that finds it",
        )


def _version(info: dict[str, Any]) -> Finding:
    valkey = info.get("valkey_version")
    name, least = ("Valkey", _MIN_VALKEY) if valkey else ("Redis", _MIN_REDIS)
    text = str(valkey or info.get("redis_version", ""))
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if numbers >= least:
        return Finding("ok", "version", f"{name} {text}")
    wanted = f"Redis {_MIN_REDIS[0]}.{_MIN_REDIS[1]} or Valkey {_MIN_VALKEY[0]}.{_MIN_VALKEY[1]}"
    return Finding(
        "problem", "version", f"{name} {text or 'of an unknown version'}", f"use {wanted} or newer"
    )


def _eviction(info: dict[str, Any]) -> Finding:
    policy, limit = str(info.get("maxmemory_policy", "")), int(info.get("maxmemory", 0))
    advice = "CONFIG SET maxmemory-policy noeviction, and the same in the server's configuration"
    if policy == "noeviction" or not policy:
        return Finding("ok", "eviction", policy or "unknown")
    if policy.startswith("volatile-"):
        text = f"{policy}: only keys that expire are evicted, and our streams do not"
        return Finding("ok", "eviction", text)
    if limit == 0:
        text = f"{policy}: harmless only as long as maxmemory is not set"
        return Finding("warning", "eviction", text, advice)
    text = f"{policy}: when memory is full, Redis deletes whole streams, and clients are reset"
    return Finding("problem", "eviction", text, advice)


def _memory(info: dict[str, Any]) -> Iterator[Finding]:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > _FULL * limit:
        yield Finding(
            "warning",
            "memory",
            f"{used / limit:.0%} of maxmemory is used; at 100% nothing can be published",
            "raise maxmemory, or lower maxlen of the channels",
        )


def _persistence(info: dict[str, Any]) -> Iterator[Finding]:
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding(
            "problem",
            "persistence",
            "the last snapshot failed; Redis may refuse to take entries until one succeeds",
            "read the server's log: usually the disk is full or not writable",
        )
    elif info.get("aof_enabled", 0):
        yield Finding("ok", "persistence", "append-only file")
    else:
        yield Finding(
            "warning",
            "persistence",
            "no append-only file: a crash of Redis loses the newest events, and clients are reset",
            "CONFIG SET appendonly yes, unless losing them is fine",
        )


def _time(probe: Probe) -> Iterator[Finding]:
    if refused := probe.why_not_time():
        yield Finding(
            "warning",
            "clock",
            f"this user can't ask for Redis's time: {refused}",
            "ACL SETUSER … +time; without it, each node counts times back from its own clock",
        )


def _stream(probe: Probe, channel: str, redis_key: str) -> Iterator[Finding]:
    subject = f"channel {channel}"
    if refused := probe.why_not_read(redis_key):
        advice = f"ACL SETUSER … %R~{redis_key} +@read +xinfo|stream"
        if refused.startswith("WRONGTYPE"):
            advice = f"the key {redis_key!r} is no stream: choose another with stream = …"
        yield Finding("problem", subject, f"can't be read: {refused}", advice)
        return
    yield Finding("ok", subject, f"readable, {probe.length(redis_key)} entries")
    if refused := probe.why_not_add(redis_key):
        yield Finding(
            "warning",
            subject,
            f"this user can't publish: {refused}",
            f"fine for nodes, which only read; publishers want ACL SETUSER … ~{redis_key} +xadd",
        )


def _requests(probe: Probe, channel: str, redis_key: str) -> Finding:
    subject = f"channel {channel}"
    if refused := probe.why_not_request(redis_key):
        return Finding(
            "problem",
            subject,
            f"nodes can't add requests to {redis_key!r}: {refused}",
            f"ACL SETUSER … ~{redis_key} +xadd +xlen +xdel +xinfo|groups +eval",
        )
    return Finding("ok", subject, f"requests can be added to {redis_key!r}")
