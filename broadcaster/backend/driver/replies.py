"""Replies about streams as plain lists, and the count of connections that they came over."""

from __future__ import annotations

from typing import Any

import redis.asyncio

from broadcaster.backend.driver.connect import AsyncClient


def raw_stream_replies(client: AsyncClient) -> None:
    """Make `XREAD`, `XRANGE` and `XREVRANGE` of this client return plain lists.

    A reply is then `[[id, [name, value, name, value, …]], …]`, all bytes, the same for RESP2 and
    RESP3, and on Cluster. `XREAD` must be asked for one stream and returns that stream's entries,
    `[]` when its BLOCK has passed. Entries without fields (deleted) are left out. Building no
    dict for each entry is half of the cost of reading a stream.
    """
    client.set_response_callback("XREAD", entries_of_one_stream)
    client.set_response_callback("XRANGE", entries)
    client.set_response_callback("XREVRANGE", entries)


def counting_class(client: AsyncClient) -> Any:
    """The class of a client's connections, which counts in `made` those that it has opened.

    If the number grows, a command may have gone to another server than the one before it, although
    no error told of it.
    """
    pool_or_options: Any = (
        vars(client.connection_pool)
        if isinstance(client, redis.asyncio.Redis)
        else client.connection_kwargs
    )
    return pool_or_options["connection_class"]


def entries(response: Any, **_: Any) -> list[Any]:
    """The entries of a raw reply of `XRANGE` or `XREVRANGE`, without those that have no fields."""
    return [entry for entry in response or () if entry is not None and entry[1] is not None]


def entries_of_one_stream(response: Any, **_: Any) -> list[Any]:
    """The entries of a raw reply of `XREAD`."""
    if not response:
        return []
    # RESP3 sends a map from stream to entries, RESP2 a list of [stream, entries].
    (found,) = response.values() if isinstance(response, dict) else [response[0][1]]
    return entries(found)
