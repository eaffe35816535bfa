"""The rights of the demo's page: to read all channels, and to publish with a token of some minutes.

The secret that signs the tokens is drawn at the start, and is in no file. A token can publish and
nothing else. Only a demo that listens on a loopback address makes tokens, so that no other machine
gets one; `web/replies.py` refuses the pages of other sites.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from broadcaster.commands import token
from broadcaster.commands.pet_store import schemas
from broadcaster.core.catalogue import DEMO, Catalogue
from broadcaster.core.channel import Channel
from broadcaster.settings import Settings
from broadcaster.web.hosts import is_loopback

_LIFE = "5m"
_DESK = Channel(name="desk", path="/v1/desk/stream", access="public", maxlen=1_000)

CHANNELS = Catalogue(
    (
        *(
            replace(
                one, access="public", schemas=schemas(one.name), coalesce=one.name == "inventory"
            )
            for one in DEMO.values()
        ),
        _DESK,
    )
)
"""The channels of the demo: the pet store's, and `desk`, by which the page asks its worker.

A tab behind a slow link is sent the newest stock and price of each pet.
"""


def access(host: str) -> dict[str, Any]:
    """Return the settings that let the demo's page publish; empty where it must not.

    Args:
        host: where the demo listens.
    """
    if not is_loopback(host):
        return {"token_secrets": ()}
    return {"token_secrets": (secrets.token_hex(32),)}


def page_token(settings: Settings) -> Callable[[], str] | None:
    """Return what makes a token for the page; None if these settings make none."""
    if not settings.token_secrets:
        return None

    def make() -> str:
        return token.make(
            settings, subject="page", subscribe=(), publish=tuple(settings.channels), expires=_LIFE
        )

    return make
