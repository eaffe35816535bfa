"""The query of a Redis url: options that can work for us, and why others can't.

redis-py takes many more options. Some of them break a promise of the hub: a command that is sent
again is a duplicate event, and a timeout below the `BLOCK` of a reader ends each of its reads. So
an option is refused unless it is known to work. Part of `backend.driver`.
"""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

from broadcaster.backend.driver.secrets import FileCredentials

LEAST_TIMEOUT_S = 3.0
"""The least `socket_timeout`: a reader waits for up to 1 s, and its answer may take two more."""
_LEAST_CONNECT_S = 1.0
_MOST_S = 300.0
# The pool of redis-py has this many. A publisher writes over 50 at a time, and each transaction and
# each run that a worker answers needs one more.
_LEAST_CONNECTIONS = 100
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "none", "")


def parse_options(query: str, *, tls: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of a url's query: those of the servers, and those of the sentinels.

    Args:
        query: of the url.
        tls: the connections use TLS.

    Raises:
        ValueError: an option is not known, or its value can't work. The text has no value of an
            option that may be secret.
    """
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
        if name in options:
            raise ValueError(f"the option {name} is given twice")
        if name in _OPTIONS:
            options[name] = _OPTIONS[name](name, text)
        elif text.lower() not in _HARMLESS.get(name, ()):
            raise ValueError(_why_not(name))
    _check_tls(options, tls=tls)
    own = {k.removeprefix(_SENTINEL): v for k, v in options.items() if k.startswith(_SENTINEL)}
    return {k: v for k, v in options.items() if not k.startswith(_SENTINEL)}, own


def _check_tls(options: dict[str, Any], *, tls: bool) -> None:
    for name in options:
        if name.startswith("ssl_") and not tls:
            raise ValueError(f"{name} needs TLS, and so a url that begins with rediss")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("ssl_keyfile needs ssl_certfile")


def with_credentials(options: dict[str, Any]) -> dict[str, Any]:
    """Replace `password_file` by an object that reads the file for each new connection.

    Raises:
        ValueError: a password is given as well.
    """
    if "password_file" not in options:
        return options
    others = {k: v for k, v in options.items() if k not in ("password_file", "username")}
    if "password" in others:
        raise ValueError("give a password or password_file, not both")
    file = FileCredentials(options["password_file"], options.get("username", ""))
    return others | {"credential_provider": file}


def _why_not(name: str) -> str:
    for reason, names in _WRONG.items():
        if name in names:
            return f"the option {name} can't be used: {reason}"
    return f"the option {name[:64]!r} is not known; there are: {', '.join(sorted(_OPTIONS))}"


def _text(name: str, text: str) -> str:
    if not text:
        raise ValueError(f"{name} has no value")
    return text


def _file(name: str, text: str) -> str:
    # It is read again for each connection. A pipe, such as the <(…) of a shell, can't be.
    if not os.path.isfile(text):
        raise ValueError(f"there is no file {text[:256]!r}, which {name} names")
    return text


def _directory(name: str, text: str) -> str:
    if not os.path.isdir(text):
        raise ValueError(f"there is no directory {text[:256]!r}, which {name} names")
    return text


def _ciphers(name: str, text: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(text)
    except ssl.SSLError as error:
        raise ValueError(f"{name} names no cipher that OpenSSL has: {text[:64]!r}") from error
    return text


def _certificates(name: str, text: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"{name} has no certificate in PEM") from error
    return text


def _name(name: str, text: str) -> str:
    if not text or not all("!" <= letter <= "~" for letter in text):  # as `CLIENT SETNAME` wants
        raise ValueError(f"{name} is ASCII without spaces")
    return text


def _bool(name: str, text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise ValueError(f"{name} is true or false, not {text[:64]!r}")
    return text.lower() in _YES


def _one_of(*values: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text not in values:
            raise ValueError(f"{name} is one of {', '.join(values)}, not {text[:64]!r}")
        return text

    return parse


def _number(least: int, why: str = "") -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text[:18])):
            raise ValueError(f"{name} is a whole number of at least {least}{why}")
        return int(text[:18])

    return parse


def _seconds(least: float, why: str) -> Callable[[str, str], float]:
    def parse(name: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= _MOST_S:  # also if it is not a number
            raise ValueError(
                f"{name}={text[:64]} can't work: the least is {least:g} and the most {_MOST_S:g} "
                f"seconds, because {why}"
            )
        return value

    return parse


def _tls_version(name: str, text: str) -> ssl.TLSVersion:
    return {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[
        _one_of("1.2", "1.3")(name, text)
    ]


_SENTINEL = "sentinel_"
_OPTIONS: dict[str, Callable[[str, str], Any]] = {
    "db": _number(0),
    "username": _text,
    "password": _text,
    "password_file": _file,
    "client_name": _name,
    "socket_timeout": _seconds(
        LEAST_TIMEOUT_S, "a node waits up to a second for an event, and for the answer after it"
    ),
    "socket_connect_timeout": _seconds(
        _LEAST_CONNECT_S, "a connection, its TLS and its login take several round trips"
    ),
    "socket_keepalive": _bool,
    "health_check_interval": _number(0),
    "max_connections": _number(
        _LEAST_CONNECTIONS, ": each transaction of a publisher and each run needs one"
    ),
    "protocol": lambda name, text: int(_one_of("2", "3")(name, text)),
    "ssl_ca_certs": _file,
    "ssl_ca_path": _directory,
    "ssl_ca_data": _certificates,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_password": _text,
    "ssl_cert_reqs": _one_of("none", "optional", "required"),
    "ssl_check_hostname": _bool,
    "ssl_ciphers": _ciphers,
    "ssl_min_version": _tls_version,
    "sentinel_username": _text,
    "sentinel_password": _text,
    "sentinel_password_file": _file,
}

_WRONG: dict[str, Iterable[str]] = {
    "the hub reads and writes bytes in UTF-8": ("decode_responses", "encoding", "encoding_errors"),
    "a command that is sent again could be an event twice": (
        "cluster_error_retry_attempts",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
    ),
    "a read that waits would hold up all other commands": ("single_connection_client",),
    "a replica may be behind, so nothing could be proven": (
        "load_balancing_strategy",
        "read_from_replicas",
    ),
}
_HARMLESS: dict[str, Iterable[str]] = {
    "decode_responses": _NO,
    "encoding": ("utf-8", "utf8"),
    "encoding_errors": ("strict",),
    "read_from_replicas": _NO,
    "retry_on_timeout": _NO,
    "single_connection_client": _NO,
}
