"""Options that several commands have."""

from __future__ import annotations

import click
from click.testing import CliRunner

from broadcaster.commands import options


@click.command()
@options.setting("port")
@options.redis_url
@options.config
def command(port: str | None, redis_url: str | None, config: str | None) -> None:
    click.echo(f"{port} {redis_url} {config}")


def test_an_option_is_a_setting_with_its_variable_and_its_default() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    assert "BROADCASTER_PORT" in text
    assert "[default: 8000]" in text


def test_a_variable_is_as_good_as_an_option() -> None:
    env = {"BROADCASTER_REDIS_URL": "redis://a", "BROADCASTER_CONFIG": "b.toml"}
    assert CliRunner().invoke(command, ["--port", "1"], env=env).output == "1 redis://a b.toml\n"
