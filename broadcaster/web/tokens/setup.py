"""Makes the reader of tokens, and the tickets, of a hub from its settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from broadcaster.core.access.claims import Expected
from broadcaster.core.access.revocations import Revocations
from broadcaster.core.channel import Channel
from broadcaster.errors import ConfigurationError
from broadcaster.settings import Settings
from broadcaster.settings.tokens import FILE
from broadcaster.web.tokens import jwks
from broadcaster.web.tokens.keys import FetchedKeys, FileKeys, GivenKeys, KeySource
from broadcaster.web.tokens.reader import TokenReader
from broadcaster.web.tokens.signatures import Issuer, Signatures
from broadcaster.web.tokens.signed import PUBLIC_ALGORITHMS, Key, key_of_secret, keys_of_pem
from broadcaster.web.tokens.tickets import Tickets, keys_of_secret

_URLS = ("https://", "http://")


def make_reader(
    settings: Settings, tickets: Tickets | None, revocations: Revocations
) -> TokenReader:
    """Make the reader of a hub's tokens.

    Args:
        settings: of the hub.
        tickets: reads tickets; None refuses them.
        revocations: that are known, now and later.

    Raises:
        ConfigurationError: a key can't be used.
    """
    own = _of_secrets(settings, "token_secrets", plain_keys)
    issuers = [Issuer(name, [_public(place)]) for name, place in settings.token_keys.items()]
    return TokenReader(
        Signatures([Issuer(settings.token_issuer, own), *issuers]),
        Expected(settings.token_audience, settings.leeway_s, settings.max_token_s),
        tickets=tickets,
        cookie=settings.token_cookie,
        origins=frozenset(settings.cors_origins) - {"*"},
        key_claims=key_claims(settings.channels.values()),
        is_revoked=revocations.concerns,
    )


def first_secret(settings: Settings) -> Key:
    """Return the key of the first secret of tokens.

    Raises:
        ConfigurationError: the settings have none, or it can't be used.
    """
    if not settings.token_secrets:
        raise ConfigurationError("token_secrets has no secret that could sign a token")
    text = settings.token_secrets[0].get_secret_value()
    return _of_secret("token_secrets", text, plain_keys).keys[0]


def key_claims(channels: Iterable[Channel]) -> dict[str, str]:
    """Return the claim that is a key, of each channel that has one."""
    return {channel.name: channel.key_claim for channel in channels if channel.key_claim}


def make_tickets(
    settings: Settings, shared: Callable[[], Awaitable[bytes]] | None
) -> Tickets | None:
    """Make the tickets of a hub; None if its nodes share no secret.

    Args:
        settings: of the hub.
        shared: returns the secret that all nodes share, for settings that name none.

    Raises:
        ConfigurationError: a secret can't be used.
    """
    sources = _of_secrets(settings, "ticket_secrets", keys_of_secret)
    if not sources and shared:
        fetch = partial(_fetched, shared)
        sources = [FetchedKeys("the secret of tickets in Redis", {"HS256"}, fetch)]
    return Tickets(sources, settings.ticket_s) if sources else None


def plain_keys(secret: bytes) -> Sequence[Key]:
    """Return the key of tokens that belongs to a secret.

    Raises:
        ValueError: the secret can't be used.
    """
    return [key_of_secret(secret.strip())]


async def _fetched(shared: Callable[[], Awaitable[bytes]]) -> Sequence[Key]:
    return keys_of_secret(await shared())


def _of_secrets(
    settings: Settings, name: str, parse: Callable[[bytes], Sequence[Key]]
) -> list[KeySource]:
    secrets = getattr(settings, name)
    return [_of_secret(name, secret.get_secret_value(), parse) for secret in secrets]


def _of_secret(setting: str, text: str, parse: Callable[[bytes], Sequence[Key]]) -> KeySource:
    if text.startswith(FILE):
        return FileKeys(text.removeprefix(FILE), parse)
    try:
        return GivenKeys(parse(text.encode()))
    except ValueError as error:
        raise ConfigurationError(f"{setting}: {error}") from None


def _public(place: str) -> KeySource:
    if place.startswith(_URLS):
        return FetchedKeys(place, PUBLIC_ALGORITHMS, partial(jwks.fetch, place))
    return FileKeys(place.removeprefix(FILE), keys_of_pem)
