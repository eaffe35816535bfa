"""Which errors of redis-py pass, and which of ours they become."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import BusyLoadingError, InvalidResponse, ReadOnlyError, ResponseError

from broadcaster import (
    BackendUnavailableError,
    BroadcasterError,
    ConfigurationError,
    EmbeddedRedis,
    Publisher,
    SyncPublisher,
    connect_sync,
)
from broadcaster.backend.driver.errors import is_unavailable, translated
from tests.channels import named
from tests.refusals import REFUSING

CHANNELS = named("pets")

#: Replies of servers and of the proxies before them, as they are on the wire.
THAT_PASS = (
    "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "READONLY You can't write against a read only replica.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED 1234 127.0.0.1:7000",
    "NOREPLICAS Not enough good replicas to write.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM User u has no permissions to run the 'xadd' command",
    "ERR max number of clients reached",
    "UNBLOCKED force unblock from blocking operation, instance state changed",
    "DENIED Redis is running in protected mode because protected mode is enabled",
    "EXECABORT Transaction discarded because of: BUSY Valkey is busy running a script.",
    "EXECABORT Transaction discarded because of: NOPERM User u has no permissions",
    "upstream failure",
)
FOR_GOOD = (
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "NOSCRIPT No matching script.",
    "NOPROTO unsupported protocol version",
    "ERR unknown command 'XADD', with args beginning with: ",
    "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    "ERR value is not an integer or out of range",
)


@pytest.mark.parametrize(
    ("reply", "passes"), [(r, True) for r in THAT_PASS] + [(r, False) for r in FOR_GOOD]
)
def test_a_refusal_passes_unless_it_is_about_the_command_itself(reply: str, passes: bool) -> None:
    error = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]
    assert is_unavailable(error) is passes
    expected = BackendUnavailableError if passes else ConfigurationError
    assert isinstance(translated(error, "publish"), expected)


def test_errors_that_are_no_reply_pass() -> None:
    assert is_unavailable(BusyLoadingError("loading"))
    assert is_unavailable(ReadOnlyError("a replica"))
    assert is_unavailable(ConnectionRefusedError())
    assert is_unavailable(InvalidResponse("Protocol Error: HTTP/1.1 502 Bad Gateway"))
    assert not is_unavailable(None)


def test_a_message_does_not_quote_the_command_of_a_pipeline() -> None:
    said = "Command # 1 (XADD pets * m secret caused error: ) of pipeline caused error: ('BUSY a',)"
    message = str(translated(ResponseError(said), "publish"))
    assert message == "could not publish: Redis refuses it for now: BUSY a"


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A server whose state a test may spoil."""
    with EmbeddedRedis("--busy-reply-threshold", "100") as made:
        yield made


@pytest.mark.server
@pytest.mark.parametrize("why", REFUSING)
async def test_all_ways_to_publish_say_that_a_refusal_passes(
    server: EmbeddedRedis, why: str
) -> None:
    with connect_sync(server.url) as redis, SyncPublisher(server.url, channels=CHANNELS) as sync:
        async with Publisher(server.url, channels=CHANNELS) as publisher:

            async def publish() -> None:
                await publisher.publish("pets", data=1)

            async def publish_many() -> None:
                await publisher.publish_many([("pets", "message", "", 1)])

            async def transaction() -> None:
                async with publisher.transaction() as made:
                    made.publish("pets", data=1)

            async def watched() -> None:
                async with publisher.transaction("watched") as made:
                    made.publish("pets", data=1)

            async def blocking() -> None:
                sync.publish("pets", data=1)

            ways = [transaction, watched]
            if why != "no right to EXEC":
                ways += [publish, publish_many, blocking]
            with REFUSING[why](redis):
                for way in ways:
                    with pytest.raises(BroadcasterError, match="refuses it for now"):
                        await way()
            for way in ways:  # the same publisher goes on
                await way()
