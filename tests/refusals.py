"""Ways in which a real server refuses commands for a time. Each is a context manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from redis.exceptions import ResponseError

from broadcaster import connect_sync
from tests.wait import until_sync


@contextmanager
def busy(redis: Any) -> Iterator[None]:
    """Let a script run for ever, and end it with the block."""
    port = redis.connection_pool.connection_kwargs["port"]
    client: Any = connect_sync(f"redis://127.0.0.1:{port}")
    script = client.connection_pool.get_connection()
    script.send_command("EVAL", "while true do end", 0)
    until_sync(lambda: not _answers(redis))
    try:
        yield
    finally:
        redis.execute_command("SCRIPT", "KILL")
        until_sync(lambda: _answers(redis))
        script.disconnect()


def _answers(redis: Any) -> bool:
    try:
        return bool(redis.ping())
    except ResponseError:
        return False


@contextmanager
def changed(redis: Any, name: str, value: str, before: str) -> Iterator[None]:
    """Change the server's configuration for the block."""
    redis.config_set(name, value)
    try:
        yield
    finally:
        redis.config_set(name, before)


@contextmanager
def without_a_right(redis: Any, right: str = "xadd") -> Iterator[None]:
    """Take a right from the default user for the block."""
    redis.execute_command("ACL", "SETUSER", "default", f"-{right}")
    try:
        yield
    finally:
        redis.execute_command("ACL", "SETUSER", "default", f"+{right}")


#: By name; each takes a client of the server, which may do everything.
REFUSING: dict[str, Callable[[Any], AbstractContextManager[None]]] = {
    "a script runs": busy,
    "memory is used up": lambda redis: changed(redis, "maxmemory", "1", "0"),
    "replicas are missing": lambda redis: changed(redis, "min-replicas-to-write", "1", "0"),
    "no right to XADD": without_a_right,
    "no right to EXEC": lambda redis: without_a_right(redis, "exec"),
}
