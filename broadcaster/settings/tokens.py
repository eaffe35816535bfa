"""The settings of tokens, which are a part of `Settings`."""

from __future__ import annotations

import re
from collections.abc import Collection

from pydantic import BaseModel, Field, SecretStr, field_validator

from broadcaster.core.access.ticket import LONGEST_S
from broadcaster.settings import files

SECRETS = ("token_secrets", "ticket_secrets", "operators_token")
"""Settings whose values are never shown."""
FILE = "file:"
"""The prefix of a path, where a setting may be a secret or name the file that has it."""
_LOCAL = re.compile(r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?/")


class TokenSettings(BaseModel):
    """The settings that decide which tokens and tickets are accepted."""

    token_secrets: tuple[SecretStr, ...] = Field(
        (),
        description="secrets of 32 bytes or more that sign tokens with HS256, HS384 or HS512; "
        "`file:PATH` reads one from a file",
    )
    token_issuer: str = Field(
        "", description="the issuer that tokens of these secrets name; empty: they name none"
    )
    token_keys: dict[str, str] = Field(
        {},
        description="where the public keys of other issuers are, by issuer: the url of a JWK Set, "
        "or a PEM file",
    )
    token_audience: str = Field(
        "", description="the audience that tokens name; empty: they name none"
    )
    token_cookie: str = Field("", description="the cookie that may have a token; empty: none")
    leeway_s: float = Field(
        30.0, ge=0, description="seconds by which the clocks of issuers and nodes may differ"
    )
    max_token_s: float = Field(
        30 * 86_400.0,
        gt=0,
        description="the longest life of a token; a revocation is remembered for as long",
    )
    revocations_key: str = Field(
        "broadcaster.revocations",
        description="the Redis stream by which nodes hear of revocations; empty: they hear of none",
    )
    ticket_secrets: tuple[SecretStr, ...] = Field(
        (),
        description="secrets of tickets: the first signs, and all verify; `file:PATH` reads one "
        "from a file. Without any, the nodes make one in Redis",
    )
    ticket_s: float = Field(
        LONGEST_S, gt=0, le=LONGEST_S, description="seconds for which a ticket opens event streams"
    )
    ticket_key: str = Field(
        "broadcaster.ticket-secret",
        description="the Redis key of the secret that the nodes make for tickets",
    )

    operators_token: str = Field(
        "",
        repr=False,
        description="the bearer token that operators' routes need; `file:PATH` reads it from a "
        "file at the start; empty: none",
    )

    @field_validator("operators_token")
    @classmethod
    def _read_token(cls, value: str) -> str:
        """Read a token that is in a file. An empty file would open the routes to every client."""
        if not value.startswith(FILE):
            return value
        try:
            token = files.read(value.removeprefix(FILE)).decode().strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", "") or "it is not UTF-8"
            raise ValueError(f"the file can't be read: {reason}") from error
        if not token:
            raise ValueError("the file is empty")
        return token

    @property
    def revocation_s(self) -> float:
        """Return the seconds after which a revocation concerns no token that is good.

        A token may have been issued by a clock that is ahead, and is good for a while after its
        end.
        """
        return self.max_token_s + 2 * self.leeway_s

    def check_tokens(self, origins: Collection[str]) -> None:
        """Check what goes together.

        Args:
            origins: whose pages may read.

        Raises:
            ValueError: these settings can't work.
        """
        if self.token_keys and not self.token_audience:
            raise ValueError(
                "token_keys needs token_audience: an issuer makes tokens for others, too"
            )
        for place in self.token_keys.values():
            if place.startswith("http://") and not _LOCAL.match(place):
                raise ValueError("token_keys: keys from another machine come by https://")
        if self.token_cookie and "*" in origins:
            raise ValueError("token_cookie needs cors_origins by name: '*' would be every page")
