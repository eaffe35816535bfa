"""The version of this package. The build, the commands and the metrics read it from here.

It is a literal, which costs nothing when a program starts. `importlib.metadata.version` reads
files, and each call leaves 2 KB in reference cycles for the garbage collector. It also returns the
installed version, which may differ from the running one.
"""

from __future__ import annotations

VERSION = "0.1.0"
