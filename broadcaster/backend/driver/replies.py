"""Makes clients return replies about streams as plain lists, and counts their connections."""

from __future__ import annotations

from typing import Any

import redis.asyncio

from broadcaster.backend.driver.connect import AsyncClient


def raw_stream_replies(client: AsyncClient) -> None:
    """Make `XREAD`, `XRANGE` and `XREVRANGE` of this client return plain lists.

    A reply is then `[[id, [name, value, name, value, …]], …]`, all bytes. It is the same for RESP2,
    RESP3 and Cluster. `XREAD` must name one stream. It returns that stream's entries, and `[]` when
    its BLOCK has passed. Entries without fields (deleted ones) are left out. Lists instead of a
    dict for each entry halve the cost of reading a stream.
    """
    client.set_response_callback("XREAD", entries_of_one_stream)
    client.set_response_callback("XRANGE", entries)
    client.set_response_callback("XREVRANGE", entries)


def counting_class(client: AsyncClient) -> Any:
    """Return the class of a client's connections. Its `made` is the number of opened connections.

    If the number has grown between two commands, they may have gone to different servers, although
    redis-py raised no error.
    """
    pool_or_options: Any = (
        vars(client.connection_pool)
        if isinstance(client, redis.asyncio.Redis)
        else client.connection_kwargs
    )
    return pool_or_options["connection_class"]


def entries(response: Any, **_: Any) -> list[Any]:
    """Return the entries with fields of a raw reply of `XRANGE` or `XREVRANGE`."""
    return [entry for entry in response or () if entry is not None and entry[1] is not None]


def entries_of_one_stream(response: Any, **_: Any) -> list[Any]:
    """Return the entries with fields of a raw reply of `XREAD`."""
    if not response:
        return []
    # RESP3 sends a map from stream to entries, RESP2 a list of [stream, entries].
    (found,) = response.values() if isinstance(response, dict) else [response[0][1]]
    return entries(found)


def fields_of(response: Any) -> dict[bytes, bytes]:
    """Return the fields of a raw reply of `HGETALL`."""
    # RESP3 sends a map, and a Cluster's client makes one. RESP2 sends a list of names and values.
    if isinstance(response, dict):
        return response
    return dict(zip(response[::2], response[1::2], strict=True))
