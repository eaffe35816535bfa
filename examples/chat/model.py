"""A model that needs no network. What it is asked decides how it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

PACE_S = 0.1


async def stub(text: str) -> AsyncIterator[str]:
    """Answer with numbers: 50 of them.

    Args:
        text: the question. With "slowly" in it, a number takes 0.5 s; with "fail", the model fails
            after ten; with "forever", it never ends.

    Raises:
        ConnectionError: as a model does whose provider is away.
    """
    pace_s = PACE_S * 5 if "slowly" in text else PACE_S
    for number in count(1) if "forever" in text else range(1, 51):
        await asyncio.sleep(pace_s)
        yield f"{number} "
        if "fail" in text and number == 10:
            raise ConnectionError("the model is away")
