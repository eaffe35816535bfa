"""redis-py's errors, and the one notion of "Redis is away for now". Part of `backend.driver`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from broadcaster.errors import (
    BackendUnavailableError,
    BroadcasterError,
    ConfigurationError,
    ConflictError,
)

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
"""Errors that pass: Redis is away, starting, or failing over. Trying again later may help."""

# Refusals that pass but have no exception class of their own in redis-py: a full disk, replicas
# that are missing, memory that is used up, a blocked read on a master that is demoted.
_REFUSALS_THAT_PASS = (
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "command not allowed when used memory",
    "UNBLOCKED",
)

TROUBLE: tuple[type[Exception], ...] = (exceptions.RedisError, *UNAVAILABLE)
"""All errors that a client of redis-py raises because of Redis or the network."""

OF_REDIS_PY: tuple[type[Exception], ...] = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
)
"""Errors that only redis-py raises. A caller's own code in a block may raise an OSError, too."""


class NotSentError(Exception):
    """No connection could be opened, so nothing was sent. `__cause__` is redis-py's error."""


def is_unavailable(error: BaseException | None) -> bool:
    """Return True if trying again later may help."""
    if isinstance(error, UNAVAILABLE):
        return True
    return isinstance(error, exceptions.ResponseError) and str(error).startswith(
        _REFUSALS_THAT_PASS
    )


def translated(error: BaseException | None, doing: str) -> BroadcasterError:
    """Return the public error for an error of redis-py's.

    Args:
        error: the error of redis-py's.
        doing: the action that failed, for the message: "publish to inventory".
    """
    said = str(error) or type(error).__name__
    if is_unavailable(error):
        return BackendUnavailableError(f"could not {doing}: Redis is not available now: {said}")
    return ConfigurationError(f"could not {doing}: Redis refused it for good: {said}")


@contextmanager
def translating(doing: str, errors: tuple[type[Exception], ...] = TROUBLE) -> Iterator[None]:
    """Turn redis-py's errors in a block into public ones.

    Mistakes of the caller (several slots in one MULTI, a pipeline used wrongly) stay as they are.

    Args:
        doing: the action of the block, for the message: "publish to inventory".
        errors: the classes to turn into public ones.

    Raises:
        BackendUnavailableError: Redis is away; trying again later may help.
        ConflictError: a watched key was changed.
        ConfigurationError: Redis refuses for good.
    """
    try:
        yield
    except (exceptions.CrossSlotTransactionError, exceptions.InvalidPipelineStack):
        raise
    except exceptions.WatchError as error:
        # redis-py reports a connection that broke while it watched as a changed key. It is not:
        # whether the EXEC was executed is unknown.
        broken = error.__context__
        if isinstance(broken, UNAVAILABLE):
            raise translated(broken, doing) from error
        raise ConflictError("a watched key was changed by somebody else") from error
    except errors as error:
        raise translated(error, doing) from error
