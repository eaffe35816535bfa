"""Declares the commands about tokens. Each imports its module when it runs."""

from __future__ import annotations

import asyncio

import click

from broadcaster.commands import options
from broadcaster.settings import load_settings


@click.command(short_help="Make a token for development.")
@click.option("--subscribe", multiple=True, metavar="RIGHT", help="CHANNEL or CHANNEL:KEY.")
@click.option("--publish", multiple=True, metavar="RIGHT", help="CHANNEL or CHANNEL:KEY.")
@click.option("--subject", default="", help="The user or service that the token is about.")
@click.option(
    "--expires", default="1h", show_default=True, metavar="TIME", help="30s, 15m, 1h, 7d."
)
@options.config
def token(
    subscribe: tuple[str, ...],
    publish: tuple[str, ...],
    subject: str,
    expires: str,
    config: str | None,
) -> None:
    """Make a token with the first secret of token_secrets, and print it.

    Rights are repeatable. In production, your own service makes the tokens.

    \b
    broadcaster token --subscribe inventory --subscribe orders:019b4132
    broadcaster token --subject ann --publish 'orders:*' --expires 15m
    """
    from broadcaster.commands import token as making

    options.require_stdout()
    settings = load_settings(config)
    click.echo(
        making.make(
            settings, subject=subject, subscribe=subscribe, publish=publish, expires=expires
        )
    )


@click.command(short_help="Revoke the tokens of a subject, or one token.")
@click.argument("name", metavar="SUBJECT|TOKEN-ID")
@options.redis_url
@options.config
def revoke(name: str, redis_url: str | None, config: str | None) -> None:
    """Revoke all tokens of a subject that were issued until now, or one token by its id.

    Event streams that were opened with these tokens end on every node. A token that is issued later
    is good again. The command waits up to half a second for replicas, and says how many have the
    revocation.

    \b
    broadcaster revoke ann
    broadcaster revoke 5f3a9c1200b7e8d4
    """
    from broadcaster.commands import revoke as revoking

    options.require_stdout()
    click.echo(asyncio.run(revoking.revoke(load_settings(config, redis_url=redis_url), name)))
