"""The page at `/`: its parts, the facts in it, and the policy that a browser enforces for it.

The page is `pages/index.html`, with `pages/page.css` in it. Its modules are `pages/*.js`, which are
served as they lie there. A small script in the page loads them, because only a script knows where
the page is: a hub can be mounted under a prefix, and its page served there without a slash at the
end.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from functools import cache, lru_cache
from hashlib import sha256
from html import escape
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.web.assets import Asset, asset_of, script, sent
from broadcaster.web.problem import problem

_INLINE = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL)
_STYLE = "<style></style>"
_ABOUT = '<meta name="hub" content="">'


class About(NamedTuple):
    """The facts about its hub that the page shows.

    Attributes:
        channels: there are routes for clients beside it.
        operations: there are routes for operators beside it.
        token: a token to publish with can be had at `page/token`.
        redis: the url of Redis that it shows in commands; empty shows none.
    """

    channels: bool
    operations: bool
    token: bool = False
    redis: str = ""


def page(request: Request, about: About) -> Response:
    """Return the page."""
    asset, policy = _page(about)
    return sent(asset, request, {"content-security-policy": policy})


def module(request: Request, name: str) -> Response:
    """Return a module of the page, or 404."""
    if name not in _modules():
        return problem(404, f"the page has no module {name[:64]!r}")
    return sent(script(f"pages/{name}"), request)


@cache
def _modules() -> tuple[str, ...]:
    return tuple(sorted(file.name for file in _pages().iterdir() if file.name.endswith(".js")))


def _pages() -> Traversable:
    return resources.files("broadcaster.web") / "pages"


@lru_cache(maxsize=8)
def _page(about: About) -> tuple[Asset, str]:
    """Return the page, and its policy.

    The policy names the style and the script in the page by their hashes, and allows modules of the
    hub. So a script that something puts into the page does not run, and no page of another site can
    show it in a frame.
    """
    text = (_pages() / "index.html").read_text("utf-8")
    style = (_pages() / "page.css").read_text("utf-8")
    text = text.replace(_STYLE, f"<style>{style}</style>")
    told = escape(
        json.dumps({**about._asdict(), "modules": [f"page/{name}" for name in _modules()]})
    )
    text = text.replace(_ABOUT, f'<meta name="hub" content="{told}">')
    hashes: dict[str, str] = {}
    for kind, inline in _INLINE.findall(text):
        hashes[kind] = f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"
    rules = (
        "default-src 'none'",
        "connect-src 'self'",
        f"script-src 'self' {hashes['script']}",
        f"style-src {hashes['style']}",
        "worker-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return asset_of(text.encode(), "text/html"), "; ".join(rules)
