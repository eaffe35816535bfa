"""Errors that a user of the package can meet.

Each message says what was expected and what to do. Nothing here knows a layer; every layer may
raise these.
"""


class BroadcasterError(Exception):
    """Base of all errors that this package raises on purpose."""


class MalformedEntryError(BroadcasterError):
    """A stream entry can't be sent as an event. `str(error)` names what is wrong with it."""


class InvalidEventError(BroadcasterError, ValueError):
    """What a producer wants to publish could not be delivered as it is (type, key or data)."""


class InvalidCursorError(BroadcasterError, ValueError):
    """A `Last-Event-ID` or a `from` that can't be read."""


class ReshardedError(InvalidCursorError):
    """An id of other shards: it was right once, and does not prove enough now."""


class InvalidRequestError(BroadcasterError, ValueError):
    """A request that would fail again however often it is repeated; becomes a 400."""


class ConfigurationError(BroadcasterError, ValueError):
    """Settings, a channel definition or a url that can't work."""


class BackendUnavailableError(BroadcasterError):
    """Redis can't be reached or refuses the command for now. Trying again later may help."""
