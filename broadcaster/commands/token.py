"""`broadcaster token`: makes a token for development, with a secret of the settings."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection

from broadcaster.core.access.rights import CLAIM, RefusedTokenError, rights
from broadcaster.errors import ConfigurationError
from broadcaster.settings import Settings
from broadcaster.web.tokens.setup import first_secret
from broadcaster.web.tokens.signed import sign

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,6})([smhd])", re.ASCII)


def make(
    settings: Settings,
    *,
    subject: str,
    subscribe: Collection[str],
    publish: Collection[str],
    expires: str,
) -> str:
    """Return a token.

    Args:
        settings: of the hub; its first secret of tokens signs.
        subject: of the token; empty for none.
        subscribe: the rights to read.
        publish: the rights to publish.
        expires: the life of the token, such as `1h`.

    Raises:
        ConfigurationError: the settings have no secret, or the token would be refused.
    """
    match = _DURATION.fullmatch(expires)
    life_s = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 0 < life_s <= settings.max_token_s:
        longest = f"{settings.max_token_s:g} s"
        raise ConfigurationError(f"a token lives for 30m, 1h or 7d, up to {longest}, not {expires}")
    named = {"subscribe": list(subscribe), "publish": list(publish)}
    try:
        rights({CLAIM: named})
    except RefusedTokenError as error:
        raise ConfigurationError(str(error)) from None
    now_s = int(time.time())
    claims = {
        "iss": settings.token_issuer,
        "aud": settings.token_audience,
        "sub": subject,
        "jti": secrets.token_hex(8),
        "iat": now_s,
        "exp": now_s + life_s,
        CLAIM: named,
    }
    return sign(
        {name: value for name, value in claims.items() if value}, first_secret(settings), "JWT"
    )
