"""The settings of a node, in one frozen object.

Flags win over environment variables, these over the TOML file, and that over the defaults.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, GetPydanticSchema, ValidationError, field_validator, model_validator
from pydantic_core import core_schema
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from broadcaster.core.catalogue import BOUNDS, PET_STORE, Catalogue, with_bounds
from broadcaster.core.channel import MAXLEN, WINDOW_BYTES, WINDOW_EVENTS, Channel
from broadcaster.core.nearest import nearest
from broadcaster.core.resume.page import TERMINAL_RETRY_MS
from broadcaster.errors import ConfigurationError
from broadcaster.settings.admission import AdmissionSettings, Count, Positive
from broadcaster.settings.complaint import as_list, complaint, shown
from broadcaster.settings.runs import RunSettings
from broadcaster.settings.tokens import SECRETS, TokenSettings

PREFIX = "BROADCASTER_"

# Clients wait with timers of 32 bits, so that 25 days or more would be no wait at all.
RetryMs = Annotated[int, Field(ge=1, le=24 * 3600 * 1000)]
_Channels = Annotated[
    Catalogue,
    GetPydanticSchema(
        lambda _, handler: core_schema.no_info_after_validator_function(
            Catalogue.of,
            handler(dict[str, Channel]),
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )
    ),
]


class Settings(AdmissionSettings, TokenSettings, RunSettings):
    """The settings of a node. Each is also read from `BROADCASTER_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False
    )

    redis_url: str = Field("", description="where Redis is; `demo` starts a private one")
    host: str = Field("127.0.0.1", description="the address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="the port to listen on; 0 takes a free one")
    workers: int = Field(1, ge=1, description="processes that share the port")
    channels: _Channels = Field(
        PET_STORE,
        description="what clients can subscribe to; the pet store's if none is configured",
    )
    maxlen: Count = Field(
        MAXLEN, description="about how many entries publishers retain in a stream"
    )
    window_events: Count = Field(
        WINDOW_EVENTS, description="the most events of a stream that a node keeps in memory"
    )
    window_bytes: Count = Field(
        WINDOW_BYTES, description="the most bytes of a stream's frames that a node keeps in memory"
    )
    max_event_bytes: Count = Field(
        1536 * 1024, description="the most bytes of an event; a larger one is counted and left out"
    )
    heartbeat_s: Positive = Field(
        15.0, description="seconds without an event after which a client gets a heartbeat"
    )
    retry_min_ms: RetryMs = Field(
        1000, description="least time after which a client should reconnect"
    )
    retry_max_ms: RetryMs = Field(
        5000, description="greatest time after which a client should reconnect"
    )
    shed_retry_ms: RetryMs = Field(
        10_000,
        description="mean time after which a client that can't be served for now should reconnect",
    )
    terminal_retry_ms: RetryMs = Field(
        TERMINAL_RETRY_MS,
        description="time after which a client reconnects if it does not stop at a terminal event",
    )
    high_water_bytes: Count = Field(
        64 * 1024, description="unsent bytes above which a client is lagging"
    )
    send_timeout_s: Positive = Field(
        30.0, description="seconds without write progress after which a client is disconnected"
    )
    max_requests: Count = Field(
        5_000,
        description="the most waiting requests of a channel made on demand; with so many, "
        "newcomers come back later",
    )
    request_ttl_s: Positive = Field(
        600.0, description="seconds in which a worker may begin to answer a request"
    )
    idempotency_s: float = Field(
        3600.0,
        ge=1,
        le=24 * 3600,
        description="seconds for which an idempotency key is remembered",
    )
    drain_s: Positive = Field(
        10.0, description="seconds over which open event streams are ended at exit"
    )
    ready_lag_s: Positive = Field(
        5.0, description="seconds that a tailer may be behind before /v1/health reports it"
    )
    ready_grace_s: Positive = Field(
        30.0,
        description="seconds without Redis after which balancers should send newcomers elsewhere",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="host names that requests may be sent to; '*' for all, which is the default "
        "unless `host` is a loopback address: then names of this machine",
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="origins whose pages may read event streams; '*' for all"
    )
    cors_headers: tuple[str, ...] = Field(
        (), description="further headers that those pages may send; '*' for all"
    )
    cors_credentials: bool = Field(False, description="allow those pages to send cookies")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="a port for operators: /metrics, /v1/nodes, /v1/health; 0 uses `port`",
    )
    nodes_key: str = Field(
        "broadcaster.nodes", description="the Redis hash behind /v1/nodes; empty writes none"
    )
    node_name: str = Field(
        "",
        description="this node's name in /v1/nodes, which no other node has; empty: a drawn name",
    )
    access_log: bool = Field(
        True, description="log a line when an event stream opens and when it ends"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least severity that is logged"
    )

    def require_redis_url(self) -> str:
        """Return the url of Redis.

        Raises:
            ConfigurationError: `redis_url` is not set.
        """
        if not self.redis_url:
            raise ConfigurationError(
                "redis_url is not set: give --redis-url, BROADCASTER_REDIS_URL or redis_url in "
                "the configuration file; `broadcaster demo` starts a private Redis"
            )
        return self.redis_url

    @field_validator("channels", mode="before")
    @classmethod
    def _name_channels(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: {"name": name, **table} if isinstance(table, dict) else table
            for name, table in value.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _share_defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Fill in the node's bounds in each channel that sets none of its own."""
        shared = {name: values[name] for name in BOUNDS if name in values}
        if shared:
            values = {**values, "channels": with_bounds(values.get("channels"), shared)}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.retry_min_ms > self.retry_max_ms:
            raise ValueError("retry_min_ms must not be above retry_max_ms")
        if 0 < self.metrics_port == self.port:
            raise ValueError("metrics_port must be another one than port")
        self.check_tokens(self.cors_origins)
        if self.cors_credentials and "*" in self.cors_origins:
            raise ValueError("cors_credentials needs the origins by name: '*' would be every page")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the winning one first: flags, environment, the TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(config: str | Path | None = None, **flags: Any) -> Settings:
    """Read the settings.

    Args:
        config: a TOML file. None takes the one that `BROADCASTER_CONFIG` names, if any.
        flags: settings that win over all others; None means "not given".

    Raises:
        ConfigurationError: a setting can't work, or the file can't be read. The message names each
            such setting, and the reason.
    """
    config = config or os.environ.get(PREFIX + "CONFIG")
    if config and not Path(config).is_file():
        raise ConfigurationError(f"there is no configuration file {str(config)!r}")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        if not config:
            return Settings(**given)
        read = type("Settings", (Settings,), {"model_config": {"toml_file": config}})
        settings: Settings = read(**given)
    except ValidationError as error:
        lines = "\n".join(_complaints(error, config, given))
        raise ConfigurationError(f"these settings can't work:\n{lines}") from None
    except SettingsError as error:  # a variable that should be JSON
        raise ConfigurationError(_unreadable_variable(error)) from error
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{config} can't be read as TOML: {error}") from error
    return settings


def unknown_variables() -> dict[str, str]:
    """Return the `BROADCASTER_…` variables of the environment that are no setting, sorted.

    Each comes with advice.
    """
    known = {name.upper() for name in Settings.model_fields} | {"CONFIG"}
    # Their case does not matter.
    ours = [name for name in sorted(os.environ) if name.upper().startswith(PREFIX)]
    advice = {}
    for name in ours:
        rest = name[len(PREFIX) :].upper()
        if rest not in known:
            meant = nearest(rest, known)
            otherwise = "remove it, or look for a typing error"
            advice[name] = f"did you mean {PREFIX}{meant}?" if meant else otherwise
    return advice


def _complaints(
    error: ValidationError, config: str | Path | None, flags: Mapping[str, Any]
) -> Iterator[str]:
    errors = error.errors()
    wrong = {e["loc"][0] for e in errors if len(e["loc"]) == 1}
    for e in errors:
        loc = e["loc"]
        if len(loc) == 3 and loc[2] in wrong & set(BOUNDS):
            continue  # a channel has it from the setting, which is in the list itself
        known = [field.name for field in fields(Channel)] if len(loc) > 1 else Settings.model_fields
        name = ".".join(map(str, loc)) or "settings"
        if loc and loc[0] in SECRETS:
            e = {**e, "input": "…"}
        yield f"  {name}{_source(loc, config, flags)}: {complaint(e, known)}"


def _source(loc: tuple[int | str, ...], config: str | Path | None, flags: Mapping[str, Any]) -> str:
    """Return where a setting comes from, as far as it is known."""
    name = str(loc[0]) if loc else ""
    variable = PREFIX + name.upper()
    if name in flags:
        return ""
    if variable in os.environ:
        return f" ({variable})"
    return f" (in {config})" if config and name else ""


def _unreadable_variable(error: SettingsError) -> str:
    found = re.search(r'field "(\w+)"', str(error))
    name = found[1] if found else ""
    variable = PREFIX + name.upper()
    given = "…" if name in SECRETS else os.environ.get(variable, "")
    expected = """{"NAME": {"path": "/v1/NAME"}}""" if name == "channels" else as_list(given)
    if given.lstrip().startswith(("[", "{")):
        return f"{variable}: expected JSON, and this is none: {error.__cause__}"
    return f"{variable}: expected JSON, such as {expected!r}, not {shown(given)}"
