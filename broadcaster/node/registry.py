"""Which nodes are there? A registry of live nodes in one Redis hash, for display only.

Each node refreshes its line every 3 s and removes it when it stops; `backend.roster` reads and
writes the hash. A line has two names. The name in the hash has the host's name, for operators. The
public name does not: it is `node_name` if that is set, else one that is drawn when a node starts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from socket import gethostname
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.roster import ANNOUNCE_S, Roster
from broadcaster.errors import BackendUnavailableError, BroadcasterError, ConfigurationError
from broadcaster.node.health import Health, Watched
from broadcaster.settings import Settings
from broadcaster.version import VERSION

logger = logging.getLogger(__name__)

_PUBLIC = ("clients", "lag_s")
_OURS = ("public_name", "reasons")


def name_of(settings: Settings, process: str) -> str:
    """Return the name of a process among all nodes that use the same Redis."""
    name = settings.node_name or f"{gethostname()}:{settings.port or os.getpid()}"
    return f"{name}/{process}"


class Registry:
    """One node's line in the hash, and the lines of all nodes."""

    def __init__(self, node: Watched, health: Health, process: str) -> None:
        """Prepare; nothing is written before `announce`.

        Args:
            node: the node that is announced.
            health: its state.
            process: its number among the processes that share the port.
        """
        self._node = node
        self._health = health
        self._roster: Roster | None = None
        self._secret = secrets.token_bytes(16)
        drawn = f"node-{secrets.token_hex(4)}"
        self._public_name = f"{node.settings.node_name or drawn}/{process}"

    def use(self, client: AsyncClient) -> None:
        """Read and write the hash with this client, which stays the caller's."""
        if self._node.settings.nodes_key:
            self._roster = Roster(client, self._node.settings.nodes_key, self._node.name)

    async def announce(self) -> None:
        """Refresh this node's line, until cancelled, or until Redis says that it has no right to.

        While Redis is away, it goes on trying.
        """
        while self._roster:
            await asyncio.sleep(ANNOUNCE_S)
            try:
                await self._roster.announce(self._about())
            except BackendUnavailableError as error:
                logger.debug("this node is not announced for now: %s", error)
            except ConfigurationError as error:
                logger.info("this node is not announced, only /v1/nodes misses it: %s", error)
                return

    async def leave(self) -> None:
        """Remove this node's line. While Redis is away, the line expires by itself."""
        if self._roster:
            with suppress(BroadcasterError):
                await self._roster.leave()

    async def nodes(self, *, details: bool) -> dict[str, Any]:
        """List the nodes that have written of late, and this one, for `/v1/nodes`.

        Args:
            details: with the hosts' names, versions, and texts of errors.

        Returns:
            `nodes`: by name, `clients`, `lag_s` and `problems` of each. `incomplete`: why others
            may be missing; it is there only if they may.
        """
        missing = "nodes_key is not set"
        if self._roster:
            try:
                lines = {**await self._roster.nodes(), self._node.name: self._about()}
                return {"nodes": self._shown(lines, details)}
            except BroadcasterError as error:
                logger.debug("only this node is known: %s", error)
                missing = "Redis is away, or gives no rights to the nodes' hash"
        lines = {self._node.name: self._about()}
        return {"nodes": self._shown(lines, details), "incomplete": missing}

    def _about(self) -> dict[str, Any]:
        lags = (self._node.log.status(name).lag_s for name in self._node.hub.windows)
        problems = self._health.problems()
        return {
            "clients": len(self._node.hub.subscribers),
            "lag_s": round(max(lags, default=0.0), 3),
            "problems": [problem.detail for problem in problems],
            "version": VERSION,
            "public_name": self._public_name,
            "reasons": [problem.public for problem in problems],
        }

    def _shown(self, lines: Mapping[str, dict[str, Any]], details: bool) -> dict[str, Any]:
        if details:
            return {
                name: {field: value for field, value in line.items() if field not in _OURS}
                for name, line in lines.items()
            }
        return {
            str(line.get("public_name") or self._hidden(name)): {
                **{field: line[field] for field in _PUBLIC if field in line},
                "problems": _reasons(line),
            }
            for name, line in lines.items()
        }

    def _hidden(self, name: str) -> str:
        """A name for a node of an older version, whose line has no public one."""
        return f"node-{blake2b(name.encode(), key=self._secret, digest_size=4).hexdigest()}"


def _reasons(line: Mapping[str, Any]) -> Any:
    """The problems in words of ours; an older version's line has only the errors' own texts."""
    return line.get("reasons", ["not ready"] if line.get("problems") else [])
