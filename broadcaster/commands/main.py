"""Declares the commands and their options. Each command has a module of its own that does the work.

A command imports its module when it runs. So `broadcaster publish` in a shell loop does not wait
for the modules of a web server.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import click

from broadcaster.commands import access, options, output
from broadcaster.commands.host import stop_signals
from broadcaster.commands.logs import LEVELS, printable
from broadcaster.errors import BroadcasterError, ConfigurationError
from broadcaster.settings import load_settings, unknown_variables
from broadcaster.version import VERSION

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_BASE_URL = "http://localhost:8000"


class _SettingsError(click.ClickException):
    """An error in the settings. It has status 2, like an unknown option."""

    exit_code = 2


class _Commands(click.Group):
    """Prints a `BroadcasterError` as one line on stderr. Settings give status 2, others 1.

    An error of the system, such as a full disk, is one line and status 1 as well.
    """

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = output.open_closed_streams()
        try:
            return super().invoke(ctx)
        except BroadcasterError as error:
            wrong_settings = isinstance(error, ConfigurationError)
            failure = _SettingsError if wrong_settings else click.ClickException
            raise failure(printable(str(error))) from error
        except BrokenPipeError:
            raise  # click ends quietly, with status 1
        except OSError as error:
            output.give_up(sys.stdout)
            raise click.ClickException(printable(str(error))) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="broadcaster")
def main() -> None:
    """Fans Redis Streams out to browsers over Server-Sent Events, without a silent gap.

    Try it: `broadcaster demo` needs nothing else on this machine.
    """


@main.command(short_help="Run a node.")
@options.setting("host")
@options.setting("port", type=click.IntRange(0, 65535))
@options.redis_url
@options.config
@options.setting("workers", type=click.IntRange(1), metavar="N")
@options.setting("log_level", type=click.Choice(LEVELS, case_sensitive=False))
@click.option("--child", hidden=True, help="For the processes that --workers starts.")
def serve(config: str | None, child: str | None, **flags: Any) -> None:
    """Serve clients until Ctrl-C, SIGTERM or SIGHUP. Each ends open responses over some seconds.

    \b
    broadcaster serve --redis-url redis://localhost:6379/0
    broadcaster serve --config hub.toml --host 0.0.0.0 --workers 4
    """
    # The server handles the signals once it runs, about a second from now. Until then we do it: the
    # kernel drops signals without a handler for the first process of a container.
    for number in stop_signals():
        if number is not signal.SIGINT:  # SIGINT raises KeyboardInterrupt already
            signal.signal(number, lambda *_: sys.exit(0))
    from broadcaster.commands import logs, supervisor
    from broadcaster.commands import serve as serving

    settings = load_settings(config, **flags)
    logs.set_up(settings.log_level)
    if not child:
        _warn_of_variables()
    sys.exit(serving.serve(settings, config, supervisor.Child.parse(child) if child else None))


@main.command(short_help="Keep the state of channels in Redis.")
@options.redis_url
@options.config
@options.setting("log_level", type=click.Choice(LEVELS, case_sensitive=False))
def fold(config: str | None, **flags: Any) -> None:
    """Keep the state of channels in Redis, until Ctrl-C, SIGTERM or SIGHUP.

    It follows all channels with a state, and writes what has changed a few times a second. The
    state outlives the entries that Redis trims, and a node that starts has it at once. One such
    process is enough for all nodes. A second one waits until the first is gone.

    \b
    broadcaster fold --redis-url redis://localhost:6379/0
    broadcaster fold --config hub.toml
    """
    from broadcaster.commands import fold as folding
    from broadcaster.commands import logs

    settings = load_settings(config, **flags)
    logs.set_up(settings.log_level)
    asyncio.run(folding.fold(settings))


@main.command(short_help="Run everything on this machine, for trying out.")
@options.setting("host")
@options.setting("port", type=click.IntRange(0, 65535))
@options.setting("log_level", type=click.Choice(LEVELS, case_sensitive=False))
def demo(host: str | None, port: int | None, log_level: str | None) -> None:
    """Run everything on this machine: a private Valkey, a node, and three workers.

    \b
    broadcaster demo
    broadcaster demo --port 8080
    """
    from broadcaster.commands import demo as show
    from broadcaster.commands import logs

    logs.set_up(log_level or "info")
    _warn_of_variables()
    sys.exit(show.run(host, port))


def _warn_of_variables() -> None:
    for name, advice in unknown_variables().items():
        logger.warning("%s is not a setting, so ignored: %s", name, advice)


@main.command(short_help="Publish events.")
@click.argument("channel")
@click.option(
    "--type",
    "type_",
    default="message",
    metavar="TYPE",
    help="The event's name. In a browser, error also fires onerror.",
)
@click.option("--key", default="", help="What the event is about: an order, a pet.")
@click.option(
    "--data", help="Goes out as it is, normally JSON. Without it, events come from stdin."
)
@click.option("--url", help="Publish over HTTP, through the hub at this address.")
@click.option("--token", envvar="HUB_TOKEN", default="", help="For --url; better in HUB_TOKEN.")
@options.redis_url
@options.config
def publish(
    channel: str,
    type_: str,
    key: str,
    data: str | None,
    url: str | None,
    token: str,
    redis_url: str | None,
    config: str | None,
) -> None:
    """Publish to CHANNEL, and print the id of each event.

    Without --data, each line of stdin is an event: {"type": …, "key": …, "data": …}. Only data is
    required. The lines that `broadcaster tail` writes into a pipe can be read here. An event with
    an "id" is stored once, however often it is published within idempotency_s.

    \b
    broadcaster publish inventory --type stock-change --key 7 --data '{"petId":"7","newStock":4}'
    broadcaster publish inventory < events.ndjson
    broadcaster publish inventory --url https://hub.example < events.ndjson
    """
    from broadcaster.commands import publish as publishing
    from broadcaster.core.json.incoming import Incoming

    options.require_stdout()
    if data is None and (type_ != "message" or key):
        raise click.UsageError("--type and --key go with --data; on stdin each line has its own")
    opened: AbstractContextManager[publishing.EventPublisher]
    if url is not None:
        opened = publishing.through(url, token)
    else:
        opened = publishing.opened(load_settings(config, redis_url=redis_url), channel)
    with opened as publisher:
        if data is not None:
            publishing.publish_one(publisher, channel, Incoming(type_, key, data))
        else:
            publishing.publish_stdin(publisher, channel)


@main.command(short_help="Follow an event stream, with resume.")
@click.argument("target", metavar="CHANNEL|PATH|URL")
@click.option("--key", "keys", multiple=True, help="Only events about this; repeatable.")
@click.option("--type", "types", multiple=True, help="Only events of this type; repeatable.")
@click.option(
    "--from",
    "start",
    metavar="START",
    help="An event id, earliest, latest, state, a time (2026-01-31T12:00:00Z) or a duration back "
    "(10m).",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after N events.")
@click.option("--base-url", default=_BASE_URL, show_default=True, help="Where the hub is.")
def tail(
    target: str,
    keys: tuple[str, ...],
    types: tuple[str, ...],
    start: str | None,
    count: int | None,
    base_url: str,
) -> None:
    """Follow an event stream, and resume where it broke off.

    The argument names channels of the hub at --base-url, with commas between several, or it is a
    path or url of an event stream. On a terminal, each event is a line for people. In a pipe, it is
    a JSON object. Types that begin with "stream." are the hub's own.

    \b
    broadcaster tail inventory --from earliest
    broadcaster tail inventory --from state
    broadcaster tail orders --key 019b4132
    broadcaster tail inventory,orders --key 019b4132 | jq .data
    broadcaster tail https://hub.example/v1/inventory/stream?petId=7
    """
    from broadcaster.commands import tail as tailing

    options.require_stdout()
    try:
        url = tailing.address(target, base_url, keys, types, start)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        asyncio.run(tailing.tail(url, count))
    except KeyboardInterrupt:
        sys.exit(0)  # Ctrl-C is the normal way to end it
    except BrokenPipeError:
        # The reader of the pipe has closed it, which is no failure. Without this, Python would
        # report an error when it flushes stdout.
        output.give_up(sys.stdout)


@main.command(short_help="Check settings, Redis and this machine.")
@options.redis_url
@options.config
def check(redis_url: str | None, config: str | None) -> None:
    """Check settings, Redis and this machine before starting a node, and say what to do.

    Ends with status 1 if there is a problem.
    """
    from broadcaster.commands import check as checking

    options.require_stdout()
    settings = load_settings(config, redis_url=redis_url)
    sys.exit(checking.report(checking.findings(settings)))


main.add_command(access.token)
main.add_command(access.revoke)
