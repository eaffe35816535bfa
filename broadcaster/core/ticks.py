"""When repeated work is due, so that a process wakes once for several works. Pure.

A wake-up of a process costs more than most of what is done in it. If each repeated work had a timer
of its own, an idle node would wake for each of them. So works are due at whole multiples of their
periods, and those that are due at the same moment share a wake-up.
"""

from __future__ import annotations


def until_tick(period_s: float, now_s: float) -> float:
    """Return the seconds until a clock shows the next whole multiple of a period.

    Args:
        period_s: it is rounded to whole milliseconds, in which uvloop counts, and to one at least.
        now_s: what the event loop's clock shows.

    Returns:
        Whole milliseconds, above zero and at most one period.
    """
    period_ms = max(1, round(period_s * 1000))
    return (period_ms - round(now_s * 1000) % period_ms) / 1000
