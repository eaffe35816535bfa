"""The version of this package: written here, and read by the build, the commands and the metrics.

A literal costs nothing when a program starts. `importlib.metadata.version` reads files, and each
call leaves 2 KB in reference cycles for the garbage collector. It also names the installed version,
which may not be the one that runs.
"""

from __future__ import annotations

VERSION = "0.1.0"
