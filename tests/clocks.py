"""Processes of Python whose clock differs from that of this machine."""

from __future__ import annotations

import os
from pathlib import Path

_SITE = """
import time
time_s, time_ns = time.time, time.time_ns
time.time = lambda: time_s() + {shift_s}
time.time_ns = lambda: time_ns() + {shift_s} * 1_000_000_000
"""


def shifted(directory: Path, shift_s: int) -> dict[str, str]:
    """Return variables of the environment for a process whose clock is ahead, or behind if below 0.

    Python imports the module `sitecustomize` at its start, and this one shifts `time`. The
    monotonic clock and the timers of the event loop stay as they are, as on a real machine.
    """
    site = directory / f"shifted{shift_s}"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITE.format(shift_s=shift_s))
    paths = (str(site), os.environ.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
