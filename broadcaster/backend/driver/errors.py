"""What redis-py raises, and the one notion of "Redis is away for now". Part of `backend.driver`."""

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

TROUBLE: tuple[type[Exception], ...] = (exceptions.RedisError, *UNAVAILABLE)
"""Whatever a client of redis-py raises."""

OF_REDIS_PY: tuple[type[Exception], ...] = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
)
"""What redis-py alone raises, for blocks of a caller's code: an OSError there is the caller's."""


class NotSentError(Exception):
    """No connection could be had; nothing was sent. `__cause__` is redis-py's error."""


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


@contextmanager
def translating(doing: str, errors: tuple[type[Exception], ...] = TROUBLE) -> Iterator[None]:
    """Turn redis-py's errors into ours.

    Errors of the caller's own making (several slots in one MULTI, a pipeline used wrongly) stay as
    they are.

    Args:
        doing: what is tried, for the message: "publish to inventory".
        errors: those to turn into ours.
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
