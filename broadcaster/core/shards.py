"""Shards: the streams of one channel by their numbers, and Redis keys beside a stream. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from zlib import crc32

_SHARD = re.compile(r"(.+)\.([0-9]+)", re.ASCII)


def shard_of(key: str, shards: int) -> int:
    """Return the shard of a key: the CRC-32 of its UTF-8 bytes, modulo the number of shards.

    Every language has this CRC-32: it is the one of zlib, gzip and PNG (ISO 3309). Events without
    a key are in shard 0.
    """
    return crc32(key.encode()) % shards


def shard_name(stream: str, shard: int) -> str:
    """Return the name of one shard of a stream, such as `orders.3`."""
    return f"{stream}.{shard}"


def in_slot_of(stream: str, name: str) -> str:
    """Return a Redis key with a name of its own, which on a Cluster lies in the slot of a stream.

    "only what is inside the { ... } is hashed", if there is something inside. A name with a brace
    that closes no tag, such as `a}b`, can't be put in braces: there is no such key then.
    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    return f"{_tagged(stream)}:{name}"


@lru_cache(maxsize=1024)  # each batch of a run needs several keys
def _tagged(stream: str) -> str:
    return stream if re.match(r"[^{]*\{[^}]+\}", stream) else f"{{{stream}}}"


def without_shard(stream: str) -> tuple[str, int | None]:
    """Return the channel of a stream and its shard: `orders.3` is shard 3 of `orders`.

    The shard is None for the stream of a channel without shards.
    """
    if match := _SHARD.fullmatch(stream):
        return match[1], int(match[2])
    return stream, None
