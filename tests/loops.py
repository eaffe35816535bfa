"""Event loops that fail a test which leaves something open, instead of hanging at its end.

When uvloop closes a loop, it warns of each handle that is still open, and then closes it. pytest
makes an error of that warning, so the handle stays open, and uvloop waits for it for ever. It does
so outside of Python, where no signal ends it. A node that a test starts and does not close is
enough, for example after an assertion that fails.
"""

from __future__ import annotations

import warnings

import uvloop


class CheckedLoop(uvloop.Loop):
    """A loop of uvloop that can be closed while something in it is open."""

    def close(self) -> None:
        """Close the loop and all that is open.

        Raises:
            AssertionError: something was open.
        """
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            super().close()
        if seen:
            left = ", ".join(str(warning.message) for warning in seen)
            raise AssertionError(f"a test left open what it had opened in its event loop: {left}")
