from __future__ import annotations

import asyncio

import pytest

from broadcaster.answers.batches import Batches
from tests.wait import until

LONG_S = 3600.0


class Published(list[str]):
    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.go.set()

    async def add(self, text: str) -> None:
        await self.go.wait()
        if text == "bad":
            raise ZeroDivisionError
        self.append(text)


async def test_the_first_leaves_at_once_and_later_ones_are_joined() -> None:
    published = Published()
    batches = Batches(published.add, 0.2)
    await batches.write("a")
    await until(lambda: published == ["a"])
    for text in "bcd":
        await batches.write(text)
    assert published == ["a"]
    await until(lambda: published == ["a", "bcd"])
    await batches.flush()
    await batches.aclose()


async def test_the_end_does_not_wait() -> None:
    published = Published()
    batches = Batches(published.add, 0.05)
    for text in "abc":
        await batches.write(text)
    await batches.flush()
    assert "".join(published) == "abc"
    empty = Batches(published.add, LONG_S)
    await empty.flush()
    await empty.aclose()


async def test_what_publishing_raises_reaches_the_writer() -> None:
    published = Published()
    batches = Batches(published.add, 0.0)
    await batches.write("bad")
    with pytest.raises(ZeroDivisionError):
        await batches.flush()
    with pytest.raises(ZeroDivisionError):
        await batches.write("more")
    await batches.aclose()


async def test_a_writer_waits_while_too_much_is_gathered() -> None:
    published = Published()
    published.go.clear()
    batches = Batches(published.add, 0.0)
    await batches.write("a")
    await asyncio.sleep(0)
    writing = asyncio.create_task(batches.write("x" * 100_000))
    done, _ = await asyncio.wait([writing], timeout=0.05)
    assert not done
    published.go.set()
    await writing
    await batches.flush()
    await batches.aclose()
    assert sum(map(len, published)) == 100_001
