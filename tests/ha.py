"""Real Sentinel sets and Clusters, of processes of the embedded server's binary on free ports.

Everything here blocks, for milliseconds where nothing else is said; `closing` ends all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import redis
from redis.crc import key_slot

from broadcaster import EmbeddedRedis, connect_sync
from broadcaster.backend.embedded import _binary, free_port
from broadcaster.backend.lifeline import bound_to_us
from tests.wait import until_sync as until_true

SERVICE = "themaster"
DOWN_AFTER_MS = 1000
NODE_TIMEOUT_MS = 1000
_SLOTS = 16384
_QUICK = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
# Sentinels and replicas have a user of their own, so that a test can shut out
# only them. Sentinels would go on as the default user if there were one.
_ALL = ("on", ">pw", "allcommands", "allkeys", "allchannels")
_USERS = ("--user", "app", *_ALL, "--user", "watcher", *_ALL)
_SENTINEL = ("--user", "default", "off", "--masteruser", "watcher", "--masterauth", "pw")


def ask(server: EmbeddedRedis, *command: Any) -> Any:
    """Send one command to one server, in any role.

    Raises:
        RedisError: it refused, or is down.
    """
    with _client(server) as client:
        return client.execute_command(*command)


def role(server: EmbeddedRedis) -> str:
    """`master`, `slave`, or `down`."""
    try:
        return str(ask(server, "ROLE")[0].decode())
    except (redis.RedisError, OSError):
        return "down"


class SentinelProcess(EmbeddedRedis):
    """The server's binary as a sentinel; it keeps what it learns in its configuration file."""

    def __init__(self, master_port: int) -> None:
        super().__init__()
        self._master_port = master_port

    def _command(self, port: int) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():
            monitor = f"sentinel monitor {SERVICE} 127.0.0.1 {self._master_port} 2"
            options = (
                f"down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
                f"failover-timeout {SERVICE} 4000",
                f"auth-user {SERVICE} watcher",
                f"auth-pass {SERVICE} pw",
            )
            lines = [f"port {port}", "bind 127.0.0.1", monitor]
            lines += [f"sentinel {option}" for option in options]
            file.write_text("\n".join(lines) + "\n")
        binary = _binary()
        assert binary
        return bound_to_us([binary, str(file), "--sentinel"])


class SentinelSet:
    """One master, replicas, and three sentinels.

    Attributes:
        servers: the data servers; the first was the master at the start.
        sentinels: the three.
        url: for `connect`.
    """

    def __init__(self, servers: list[EmbeddedRedis], sentinels: Sequence[EmbeddedRedis]) -> None:
        self.servers = servers
        self.sentinels = sentinels
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        self.url = f"redis+sentinel://app:pw@{hosts}/{SERVICE}/0"

    def owner(self, _: str = "") -> EmbeddedRedis | None:
        """The server that a sentinel takes for the master, once it is one."""
        port = self._state_of(self.sentinels[0])["port"]
        found = next(server for server in self.servers if server.port == port)
        return found if role(found) == "master" else None

    def failover(self, _: EmbeddedRedis) -> None:
        """Let a healthy master change places with its replica (`SENTINEL FAILOVER`)."""
        ask(self.sentinels[0], "SENTINEL", "FAILOVER", SERVICE)

    def shut_out(self, server: EmbeddedRedis) -> None:
        """Keep sentinels and replicas from a master that still serves all others."""
        ask(server, "ACL", "SETUSER", "watcher", "off")
        ask(server, "CLIENT", "KILL", "USER", "watcher")

    def let_in(self, server: EmbeddedRedis) -> None:
        """Undo `shut_out`."""
        ask(server, "ACL", "SETUSER", "watcher", "on")

    def settled(self) -> bool:
        """Return True if every sentinel knows a healthy replica and the other two sentinels."""
        return all(
            state["num-other-sentinels"] == 2 and state["num-slaves"] == len(self.servers) - 1
            for state in map(self._state_of, self.sentinels)
        )

    def _state_of(self, sentinel: EmbeddedRedis) -> dict[str, Any]:
        with _client(sentinel) as client:
            return dict(client.sentinel_master(SERVICE))


@contextmanager
def sentinel_set(replicas: int = 1) -> Iterator[SentinelSet]:
    """Start a Sentinel set that is ready for a failover; takes about 3 s."""
    with ExitStack() as stack:
        common = (*_USERS, *_SENTINEL, *_QUICK)
        master = stack.enter_context(EmbeddedRedis(*common))
        follow = ("--replicaof", "127.0.0.1", str(master.port))
        servers = [master]
        servers += [stack.enter_context(EmbeddedRedis(*common, *follow)) for _ in range(replicas)]
        _until(lambda: all(map(_in_sync, servers[1:])))
        sentinels = [stack.enter_context(SentinelProcess(master.port)) for _ in range(3)]
        made = SentinelSet(servers, sentinels)
        _until(made.settled)
        yield made


class Cluster:
    """Three masters, each with a third of the slots, and a replica of each.

    Attributes:
        servers: the masters of the start, then their replicas in the same order.
        url: for `connect`; it names the first three.
    """

    def __init__(self, servers: list[EmbeddedRedis]) -> None:
        self.servers = servers
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers[:3])
        self.url = f"redis+cluster://app:pw@{hosts}"

    def owner(self, redis_key: str) -> EmbeddedRedis | None:
        """The running server that takes itself for the master of a key's slot."""
        slot = key_slot(redis_key.encode())
        for server in self._running():
            (own,) = (node for node in _nodes(server).values() if "myself" in node["flags"])
            if "master" in own["flags"] and any(_has(slots, slot) for slots in own["slots"]):
                return server
        return None

    def replica_of(self, master: EmbeddedRedis) -> EmbeddedRedis:
        """A replica of a master."""
        return next(s for s in self._running() if _master_port(s) == master.port)

    def other_master(self, master: EmbeddedRedis) -> EmbeddedRedis:
        """Some master that is not this one."""
        return next(s for s in self._running() if s is not master and role(s) == "master")

    def begin_move(self, redis_key: str, source: EmbeddedRedis, target: EmbeddedRedis) -> None:
        """Move a key to another master, but not yet its slot: the old one answers `ASK`."""
        slot = key_slot(redis_key.encode())
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(target))
        ask(source, "MIGRATE", "127.0.0.1", target.port, redis_key, 0, 5000)

    def end_move(self, redis_key: str, source: EmbeddedRedis, target: EmbeddedRedis) -> None:
        """Move the key's slot as well: the old master answers `MOVED`."""
        for server in (target, source):
            ask(server, "CLUSTER", "SETSLOT", key_slot(redis_key.encode()), "NODE", node_id(target))

    def failover(self, master: EmbeddedRedis) -> None:
        """Let a healthy master change places with its replica (`CLUSTER FAILOVER`)."""
        ask(self.replica_of(master), "CLUSTER", "FAILOVER")

    def settled(self) -> bool:
        """Return True if all running servers agree on the slots, and all replicas are in step."""
        running = list(self._running())
        layouts = {repr(sorted(_layout(server))) for server in running}
        return len(layouts) == 1 and all(
            "cluster_state:ok" in _text(server, "CLUSTER", "INFO")
            and (role(server) == "master" or _in_sync(server))
            for server in running
        )

    def _running(self) -> Iterator[EmbeddedRedis]:
        return (server for server in self.servers if server.pid)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start a Cluster that is ready for a failover; takes about 3 s."""
    with ExitStack() as stack:
        servers = [stack.enter_context(_cluster_server()) for _ in range(6)]
        for number, server in enumerate(servers):
            # Distinct epochs from the start: agreeing on them would take several rounds.
            ask(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                first, last = _SLOTS * number // 3, _SLOTS * (number + 1) // 3 - 1
                ask(server, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in servers[1:]:
            ask(servers[0], "CLUSTER", "MEET", "127.0.0.1", server.port, _bus_port(server))
        _until(lambda: all(len(_nodes(server)) == 6 for server in servers))
        for master, replica in zip(servers[:3], servers[3:], strict=True):
            ask(replica, "CLUSTER", "REPLICATE", node_id(master))
        made = Cluster(servers)
        _until(made.settled)
        yield made


def node_id(server: EmbeddedRedis) -> str:
    """A cluster server's name of itself."""
    return _text(server, "CLUSTER", "MYID")


def _until(condition: Callable[[], Any]) -> None:
    """Wait for a state of servers, of which one may be too busy to answer in time."""

    def is_true() -> bool:
        with suppress(redis.TimeoutError, redis.ConnectionError):
            return bool(condition())
        return False

    until_true(is_true)


def _client(server: EmbeddedRedis) -> Any:
    """A client of this server and no other; Any, as redis-py's types are those of all clients."""
    if isinstance(server, SentinelProcess):
        return connect_sync(server.url, timeout_s=2.0)
    return connect_sync(f"redis://app:pw@127.0.0.1:{server.port}", timeout_s=2.0)


def _cluster_server() -> EmbeddedRedis:
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
    return EmbeddedRedis(*options, "--cluster-port", str(free_port()), *_USERS, *_QUICK)


def _bus_port(server: EmbeddedRedis) -> str:
    return server._config[server._config.index("--cluster-port") + 1]


def _text(server: EmbeddedRedis, *command: str) -> str:
    return str(ask(server, *command).decode())


def _nodes(server: EmbeddedRedis) -> dict[str, Any]:
    with _client(server) as client:
        return dict(client.cluster("nodes"))


def _layout(server: EmbeddedRedis) -> list[Any]:
    """The masters, their slots and their replicas, as one server sees them."""
    nodes = _nodes(server).values()
    return [(n["node_id"], n["master_id"], n["slots"]) for n in nodes if "fail" not in n["flags"]]


def _has(slots: list[str], slot: int) -> bool:
    return int(slots[0]) <= slot <= int(slots[-1])


def _master_port(server: EmbeddedRedis) -> int:
    state = ask(server, "ROLE")
    return int(state[2]) if state[0] == b"slave" else 0


def _in_sync(server: EmbeddedRedis) -> bool:
    state = ask(server, "ROLE")
    return bool(state[0] == b"slave" and state[3] == b"connected")
