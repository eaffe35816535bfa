"""Child processes that end when this one ends, however it ends.

On Linux a child can ask the kernel for a SIGTERM when its parent dies, even of SIGKILL: prctl(2),
PR_SET_PDEATHSIG, which is 1. The request outlives an execve(2). So a small program asks, and then
becomes the command. `preexec_fn` would do the same in the parent, but is not safe where threads
run. On other systems a child outlives a parent that is killed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_PROGRAM = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
)


def bound_to_us(command: Sequence[str]) -> list[str]:
    """Return the command that runs this one and ends it with us.

    Args:
        command: the path of a program, and its arguments.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, *command]
