"""redis-py's errors, and the one notion of "Redis is away for now". Part of `backend.driver`."""

from __future__ import annotations

import re
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
    exceptions.ConnectionError,  # also: a login is refused, `LOADING`, too many clients
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterError,  # also: sent from one node to the other for too long
    exceptions.AskError,  # a slot that moved in the middle of a transaction
    exceptions.TryAgainError,
    exceptions.InvalidResponse,  # no reply of Redis: a proxy speaks for it
    # What the cluster client raises when no node answers; it is not a RedisError.
    exceptions.RedisClusterException,
    OSError,  # and with it the TimeoutError of asyncio
)
"""Errors that pass: Redis is away, starting, or failing over. Trying again later may help."""

# A reply begins with a code. These are about the command itself or the type of its key, so the same
# command would be refused again. Every other refusal depends on the state of the server, or on what
# its operator can change while we run: BUSY, MISCONF, NOPERM, NOREPLICAS, OOM, UNBLOCKED, …
_REFUSED_FOR_GOOD = frozenset(
    {"BUSYGROUP", "BUSYKEY", "CROSSSLOT", "ERR", "NOGROUP", "NOPROTO", "NOSCRIPT", "WRONGTYPE"}
)
_CODE = re.compile(r"([A-Z]+)\b")
# redis-py quotes the reply to a command of a pipeline. Redis quotes it if it refuses an `EXEC`.
_QUOTED = re.compile(
    r".*(?:caused error: |discarded because of: )(?:\(['\"])?(.*?)(?:['\"],?\))?", re.DOTALL
)

_LIMITS = {
    "max number of clients reached": "maxclients",
    "invalid bulk length": "proto-max-bulk-len",
}

TROUBLE: tuple[type[Exception], ...] = (exceptions.RedisError, *UNAVAILABLE)
"""All errors that a client of redis-py raises because of Redis or the network."""

OF_REDIS_PY: tuple[type[Exception], ...] = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
)
"""Errors that only redis-py raises. A caller's own code in a block may raise an OSError, too."""


class NotSentError(Exception):
    """No connection could be opened, so nothing was sent. `__cause__` is redis-py's error."""


# Redis's whole answer to a transaction whose MULTI it has refused.
_NO_MULTI = "EXEC without MULTI"


def is_unavailable(error: BaseException | None) -> bool:
    """Return True if trying again later may help."""
    if isinstance(error, exceptions.ResponseError):
        return _code(error) not in _REFUSED_FOR_GOOD
    return isinstance(error, UNAVAILABLE)


def _code(error: exceptions.ResponseError) -> str:
    """Return the code of a refusal, such as `WRONGTYPE`; empty if it has none."""
    if error.status_code not in (None, "EXECABORT"):  # redis-py has cut it off the text
        return str(error.status_code)
    found = _CODE.match(_said(error))
    return found[1] if found else ""


def _said(error: BaseException | None) -> str:
    """Return Redis's own words, without the command that redis-py quotes around them."""
    said = str(error) or type(error).__name__
    quoted = _QUOTED.fullmatch(said)
    return quoted[1] if quoted else said


def limit_of(error: BaseException | None) -> str:
    """Return the setting of Redis that limits what was tried; empty if none is known to."""
    return next((limit for text, limit in _LIMITS.items() if text in str(error)), "")


def translated(error: BaseException | None, doing: str) -> BroadcasterError:
    """Return the public error for an error of redis-py's.

    Args:
        error: the error of redis-py's.
        doing: the action that failed, for the message: "publish to inventory".
    """
    said = _said(error)
    if limit := limit_of(error):
        said += f" (limited by {limit})"
    if _NO_MULTI in said:
        said = "the user may not call MULTI, so each command was executed by itself: allow +multi"
    if not is_unavailable(error):
        return ConfigurationError(f"could not {doing}: Redis refused it for good: {said}")
    refused = isinstance(error, exceptions.ResponseError)
    why = "refuses it for now" if refused else "is not available now"
    return BackendUnavailableError(f"could not {doing}: Redis {why}: {said}")


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
        raise ConflictError("another client changed a watched key") from error
    except errors as error:
        raise translated(error, doing) from error
