"""Child processes that end when this one ends, even if it is killed.

On Linux a child can ask the kernel for a SIGTERM when its parent dies: prctl(2), PR_SET_PDEATHSIG,
which is 1. The request stays valid after an execve(2). So a small program makes the request, and
then becomes the command. `preexec_fn` would do without that program, but it is not safe if the
parent has threads. On other systems a child survives a parent that is killed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_PROGRAM = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
)


def bound_to_us(command: Sequence[str]) -> list[str]:
    """Return a command that runs the given one, and ends it when this process ends.

    Args:
        command: the path of a program, and its arguments.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, *command]
