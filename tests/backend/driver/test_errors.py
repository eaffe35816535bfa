"""Which errors of redis-py pass, and which of ours they become."""

from __future__ import annotations

from redis.exceptions import BusyLoadingError, ReadOnlyError, ResponseError

from broadcaster.backend.driver.errors import is_unavailable


def test_errors_that_pass_and_errors_that_stay() -> None:
    assert is_unavailable(BusyLoadingError("loading"))
    assert is_unavailable(ReadOnlyError("a replica"))
    assert is_unavailable(ConnectionRefusedError())
    assert is_unavailable(ResponseError("NOREPLICAS Not enough good replicas to write."))
    assert not is_unavailable(ResponseError("WRONGTYPE Operation against a key"))
