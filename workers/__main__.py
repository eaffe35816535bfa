"""The command line of the workers: `python -m workers inventory --rate 20` in a checkout."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from broadcaster import BroadcasterError, Publisher, load_settings

from .desk import Desk
from .inventory import Inventory
from .orders import Orders
from .recommendations import Recommendations
from .runner import Life, Worker, run_worker, showing_progress

_REDIS_URL = "redis://localhost:6379"
_F = TypeVar("_F", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run one of the workers of the pet store. Ctrl-C or SIGTERM stops it cleanly."""


def _options(default_rate: float) -> Callable[[_F], _F]:
    def decorate(command: _F) -> _F:
        for option in (
            click.option(
                "--count",
                type=click.IntRange(min=1),
                help="Number of events after which to stop. [default: no limit]",
            ),
            click.option(
                "--rate",
                default=default_rate,
                type=click.FloatRange(min=0, min_open=True),
                show_default=True,
                help="Events per second.",
            ),
            click.option(
                "--redis-url",
                envvar="BROADCASTER_REDIS_URL",
                show_envvar=True,
                help=f"Where Redis is. [default: {_REDIS_URL}]",
            ),
            click.option(
                "--config",
                type=click.Path(),
                envvar="BROADCASTER_CONFIG",
                show_envvar=True,
                help="The nodes' TOML file, which defines the channels.",
            ),
        ):
            command = option(command)
        return command

    return decorate


_seed_option = click.option("--seed", type=int, help="Make the choices repeatable.")


@main.command()
@_options(default_rate=10.0)
@_seed_option
def inventory(rate: float, count: int | None, seed: int | None, **place: str | None) -> None:
    """Change stocks and prices of pets."""
    _run("inventory", place, Life(rate, count), lambda p: Inventory(p, seed=seed))


@main.command()
@_options(default_rate=5.0)
@_seed_option
@click.option(
    "--order-s",
    nargs=2,
    default=(0.0, 0.0),
    type=click.FloatRange(min=0),
    metavar="LEAST MOST",
    help="Seconds that an order takes, drawn between the two. [default: as the rate allows]",
)
def orders(
    rate: float,
    count: int | None,
    seed: int | None,
    order_s: tuple[float, float],
    **place: str | None,
) -> None:
    """Place orders and walk them to their end."""
    _run("orders", place, Life(rate, count), lambda p: Orders(p, seed=seed, order_s=order_s))


@main.command()
@_options(default_rate=4.0)
@click.option("--seed", type=int, help="Ignored, because nothing here is random.")
@click.option(
    "--takeover-s",
    default=15.0,
    type=click.FloatRange(min=0.1),
    show_default=True,
    help="Seconds after which the requests of a silent worker go to another one.",
)
def recommendations(
    rate: float, count: int | None, seed: int | None, takeover_s: float, **place: str | None
) -> None:
    """Answer requests for recommendations; the rate is that of a single answer."""
    del seed  # the answer follows from the user and the stock
    _run(
        "recommendations",
        place,
        Life(rate, count),
        lambda p: Recommendations(p, takeover_s=takeover_s),
    )


@main.command()
@_options(default_rate=20.0)
def desk(rate: float, count: int | None, **place: str | None) -> None:
    """Do what the page of the demo asks for; the rate is how often it looks."""
    _run("inventory", place, Life(rate, count), Desk)


def _run(
    name: str, place: dict[str, str | None], life: Life, make: Callable[[Publisher], Worker]
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until `run_worker` handles it

    async def run() -> None:
        async with _publisher(name, **place) as publisher:
            with showing_progress(name, life):
                await run_worker(make(publisher), life)

    try:
        asyncio.run(run())
    except BroadcasterError as error:
        raise click.ClickException(str(error)) from error


def _publisher(channel: str, redis_url: str | None, config: str | None) -> Publisher:
    """Return a publisher with the Redis and the channels of the nodes' settings."""
    settings = load_settings(config, redis_url=redis_url)
    if not settings.redis_url:
        settings = load_settings(config, redis_url=_REDIS_URL)
    publisher = Publisher.of(settings)
    publisher.stream_of(channel)  # raises now if the settings have no such channel
    return publisher


if __name__ == "__main__":
    main(prog_name=f"python -m {__package__}")
