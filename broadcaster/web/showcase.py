"""The page at `/`, and the policy that a browser enforces for it."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources

from starlette.responses import Response

from broadcaster.web.problem import SafeResponse

_INLINE = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL)
_REDIS_URL = '<meta name="redis-url" content="'


def page(redis_url: str = "") -> Response:
    """Return the page.

    Args:
        redis_url: that it shows in commands; empty shows none.
    """
    text, policy = _page()
    if redis_url:
        text = text.replace(_REDIS_URL, _REDIS_URL + escape(redis_url), 1)
    headers = {"cache-control": "no-cache", "content-security-policy": policy}
    return SafeResponse(text, headers=headers, media_type="text/html")


@cache
def _page() -> tuple[str, str]:
    """Return the text of the page, and its policy.

    The policy names its one script and its one style by their hashes. So a script that something
    puts into the page does not run, and no page of another site can show it in a frame.
    """
    text = (resources.files("broadcaster.web") / "pages" / "index.html").read_text("utf-8")
    hashes: dict[str, str] = {}
    for kind, inline in _INLINE.findall(text):
        hashes[kind] = f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"
    rules = (
        "default-src 'none'",
        "connect-src 'self'",
        f"script-src {hashes['script']}",
        f"style-src {hashes['style']}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return text, "; ".join(rules)
