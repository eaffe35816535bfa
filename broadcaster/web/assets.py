"""Files that a browser loads: compressed once, and sent again only if they have changed."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from importlib import resources
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.web.problem import SafeResponse

SCRIPT = "text/javascript"
"""The media type of a module."""


class Asset(NamedTuple):
    """A file in the two forms in which it is sent.

    Attributes:
        body: its bytes.
        packed: the same bytes, compressed by gzip.
        tag: its entity tag, which changes with the bytes.
        media_type: without the charset, which is UTF-8.
    """

    body: bytes
    packed: bytes
    tag: str
    media_type: str


def asset_of(body: bytes, media_type: str) -> Asset:
    """Return the file with these bytes."""
    packed = gzip.compress(body, compresslevel=9, mtime=0)
    tag = blake2b(body, digest_size=12).hexdigest()
    return Asset(body, packed, f'"{tag}"', media_type)


@cache
def script(path: str) -> Asset:
    """Return a module of JavaScript that lies below `broadcaster/web`.

    Args:
        path: such as `pages/page.js`.

    Raises:
        OSError: there is no such file.
    """
    return asset_of((resources.files("broadcaster.web") / path).read_bytes(), SCRIPT)


def sent(asset: Asset, request: Request, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that has a file: 200, or 304 if the browser has it already.

    Args:
        asset: the file.
        request: says what the browser has, and whether it reads gzip.
        headers: of the answer, beside its own.
    """
    own = {"cache-control": "no-cache", "etag": asset.tag, "vary": "Accept-Encoding"}
    known = request.headers.get("if-none-match", "")
    if asset.tag in known:  # a proxy that compresses adds a prefix, W/
        return SafeResponse(status_code=304, headers={**own, **(headers or {})})
    body = asset.body
    if _reads_gzip(request.headers.get("accept-encoding", "")):
        body, own["content-encoding"] = asset.packed, "gzip"
    return SafeResponse(body, headers={**own, **(headers or {})}, media_type=asset.media_type)


def _reads_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
