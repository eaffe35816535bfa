"""Registry of live nodes in one Redis hash: for display, and for limits over all nodes.

Each node refreshes its line every 3 s and removes it when it stops. `backend.nodes` reads and
writes the hash. A line has two names. The name in the hash contains the host's name and is for
operators. The public name does not: it is `node_name` if that is set, else a random name that is
made when the node starts.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from socket import gethostname
from time import monotonic
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.nodes import ANNOUNCE_S, NodesHash
from broadcaster.backend.runs.listeners import FOLLOWED
from broadcaster.core.backoff import backoff_s
from broadcaster.errors import BroadcasterError
from broadcaster.node.figures import Rate, own_figures
from broadcaster.node.health import Watched
from broadcaster.settings import Settings
from broadcaster.version import VERSION

logger = logging.getLogger(__name__)

_AGAIN_S = (0.5, 2.5)  # a node is listed again within 3 s
_FORGOTTEN = 4  # failures after which other nodes' streams count no more, as their lines are old
_COUNTS = "streams_of"
_PUBLIC = ("clients", "lag_s")
_FIGURES = "figures"
_OURS = ("public_name", "reasons", _COUNTS, _FIGURES, FOLLOWED)
_MOST_RUNS = 2_000  # in one line


def name_of(settings: Settings, process: str) -> str:
    """Return the name of a process among all nodes that use the same Redis.

    A part of it is drawn. Otherwise nodes would overwrite each other's lines if they have the same
    port at several addresses of a machine, or are mounted in an application, which has the port.
    """
    name = settings.node_name or f"{gethostname()}:{settings.port}-{secrets.token_hex(4)}"
    return f"{name}/{process}"


class Registry:
    """One node's line in the hash, and the lines of all nodes."""

    def __init__(self, node: Watched, process: str) -> None:
        """Choose the public name. Nothing is written before `announce`.

        Args:
            node: the node to announce.
            process: the number of its process among those that share the port.
        """
        self._node = node
        self._hash: NodesHash | None = None
        self._secret = secrets.token_bytes(16)
        drawn = f"node-{secrets.token_hex(4)}"
        self._public_name = f"{node.settings.node_name or drawn}/{process}"
        self._others: Mapping[str, dict[str, Any]] = {}
        self._rate = Rate()

    def use(self, client: AsyncClient) -> None:
        """Read and write the hash with this client. The caller closes the client."""
        if self._node.settings.nodes_key:
            key, clock = self._node.settings.nodes_key, self._node.clock
            self._hash = NodesHash(client, key, self._node.name, clock.now_ms)

    async def announce(self) -> None:
        """Refresh this node's line until cancelled.

        While Redis is away or refuses, it goes on trying: an operator may change rights, or a key
        of another type, while the node runs.
        """
        failures = 0
        while self._hash:
            wait_s = backoff_s(failures - 1, *_AGAIN_S, random.random()) if failures else ANNOUNCE_S
            await asyncio.sleep(wait_s)
            try:
                others = await self._hash.announce(self._about() | self._counts() | self._runs())
            except BroadcasterError as error:
                level = logging.DEBUG if failures else logging.INFO
                logger.log(level, "this node is not announced, only /v1/nodes misses it: %s", error)
                failures += 1
                if failures == _FORGOTTEN:
                    self._others = {}
                    self._node.limits.learn([])
            else:
                failures, self._others = 0, others
                self._node.limits.learn(line.get(_COUNTS, {}) for line in others.values())

    async def leave(self) -> None:
        """Remove this node's line. While Redis is away, the line expires by itself."""
        if self._hash:
            with suppress(BroadcasterError):
                await self._hash.leave()

    async def nodes(self, *, details: bool) -> dict[str, Any]:
        """Return the live nodes, for `/v1/nodes`. This node is always among them.

        Args:
            details: True includes host names, versions and error texts.

        Returns:
            A dict with `nodes`: `clients`, `lag_s` and `problems` of each node, by its name. If
            other nodes may be missing, `incomplete` says why.
        """
        missing = "nodes_key is not set"
        if self._hash:
            try:
                lines = {**await self._hash.nodes(), self._node.name: self._about()}
                return {"nodes": self._shown(lines, details)}
            except BroadcasterError as error:
                logger.debug("only this node is known: %s", error)
                missing = "Redis is away, or gives no rights to the nodes' hash"
        lines = {self._node.name: self._about()}
        return {"nodes": self._shown(lines, details), "incomplete": missing}

    def own_name(self, *, details: bool) -> str:
        """Return the name of this node, as `nodes` and `figures` have it."""
        return self._node.name if details else self._public_name

    def figures(self, *, details: bool) -> dict[str, dict[str, Any]]:
        """Return the figures of all nodes, as they were known within the last seconds.

        Args:
            details: True includes host names and error texts.

        Returns:
            For each node by its name what `own_figures` has, and its `problems`.
        """
        lines = {**self._others, self._node.name: self._about()}
        told = "problems" if details else "reasons"
        return {
            name if details else self._public(name, line): {
                **line[_FIGURES],
                "problems": line[told],
            }
            for name, line in lines.items()
            if _FIGURES in line
        }

    def _counts(self) -> dict[str, Any]:
        """Return the counts of event streams for the other nodes, if there is a limit for them."""
        counts = self._node.limits.for_others()
        return {_COUNTS: counts} if counts else {}

    def _runs(self) -> dict[str, Any]:
        """Return the number of followers of each run, for its worker."""
        of = self._node.hub.subscribers
        found = {str(run): len(of.of_run(run)) for run in of.runs[-_MOST_RUNS:]}
        return {FOLLOWED: found} if found else {}

    def _about(self) -> dict[str, Any]:
        lags = (self._node.log.status(name).lag_s for name in self._node.hub.windows)
        problems = self._node.health.problems()
        rate = self._rate.of(self._node.hub.deliveries, monotonic())
        return {
            "clients": len(self._node.hub.subscribers),
            "lag_s": round(max(lags, default=0.0), 3),
            "problems": [problem.detail for problem in problems],
            "version": VERSION,
            "public_name": self._public_name,
            "reasons": [problem.public for problem in problems],
            _FIGURES: own_figures(self._node, rate),
        }

    def _shown(self, lines: Mapping[str, dict[str, Any]], details: bool) -> dict[str, Any]:
        if details:
            return {
                name: {field: value for field, value in line.items() if field not in _OURS}
                for name, line in lines.items()
            }
        return {
            self._public(name, line): {
                **{field: line[field] for field in _PUBLIC if field in line},
                "problems": _reasons(line),
            }
            for name, line in lines.items()
        }

    def _public(self, name: str, line: Mapping[str, Any]) -> str:
        """Return the public name of a node. One of an older version has none in its line."""
        if known := line.get("public_name"):
            return str(known)
        return f"node-{blake2b(name.encode(), key=self._secret, digest_size=4).hexdigest()}"


def _reasons(line: Mapping[str, Any]) -> Any:
    """Return the public texts of the problems. Lines of older versions have only error texts."""
    return line.get("reasons", ["not ready"] if line.get("problems") else [])
