"""The options that several commands have, and a check of stdout for those that print a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from broadcaster.settings import PREFIX, Settings

F = TypeVar("F", bound=Callable[..., Any])


def setting(name: str, **options: Any) -> Callable[[F], F]:
    """Return an option for a setting, with its environment variable and description."""
    field = Settings.model_fields[name]
    text = (field.description or name).capitalize() + "."
    if field.default not in (None, ""):
        text += f"  [default: {field.default}]"
    return click.option(
        f"--{name.replace('_', '-')}",
        **{"help": text, "envvar": PREFIX + name.upper(), "show_envvar": True, **options},
    )


def require_stdout() -> None:
    """Refuse to work for a result that would go nowhere."""
    if "stdout" in click.get_current_context().obj:
        raise click.ClickException("stdout is closed, and the result would go there")


redis_url = setting("redis_url", metavar="URL", help="Where Redis is: redis://localhost:6379/0.")
config = click.option(
    "--config",
    type=click.Path(),
    metavar="FILE",
    envvar=PREFIX + "CONFIG",
    show_envvar=True,
    help="A TOML file with settings and channels. Options and variables override it.",
)
