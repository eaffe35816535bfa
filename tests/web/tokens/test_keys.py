"""Where keys are, and when they are looked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from broadcaster.errors import BackendUnavailableError, ConfigurationError
from broadcaster.settings import kept
from broadcaster.settings.kept import LOOK_S
from broadcaster.web.tokens import keys as places
from broadcaster.web.tokens.keys import FETCH_S, FRESH_S, FetchedKeys, FileKeys, GivenKeys
from broadcaster.web.tokens.signed import Key
from tests.files import swap
from tests.settings.test_kept import Clock

A, B = Key("a", frozenset({"HS256"}), b"a"), Key("b", frozenset({"HS256"}), b"b")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(places, "time", made)
    monkeypatch.setattr(kept, "time", made)
    return made


def of_text(data: bytes) -> Sequence[Key]:
    if not data:
        raise ValueError("it is empty")
    return [Key(data.decode(), frozenset({"HS256"}), data)]


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    source = FileKeys(str(path), of_text)
    swap(path, "two")
    source.look()
    assert [key.id for key in source.keys] == ["one"]  # it was looked at a moment ago
    clock.now_s += LOOK_S
    source.look()
    assert [key.id for key in source.keys] == ["two"]
    assert source.version == 1
    clock.now_s += LOOK_S
    source.look()
    assert source.version == 1


def test_a_file_without_a_key_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigurationError, match=r"no key in .*/empty': it is empty"):
        FileKeys(str(tmp_path / "empty"), of_text)


class Place:
    """A place that has keys."""

    def __init__(self) -> None:
        self.keys: Sequence[Key] = [A]
        self.fetches = 0
        self.down = False
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self) -> Sequence[Key]:
        self.fetches += 1
        await self.open.wait()
        if self.down:
            raise BackendUnavailableError("it is down")
        return self.keys

    def source(self) -> FetchedKeys:
        return FetchedKeys("a place", {"HS256"}, self.fetch)


async def test_keys_are_fetched_when_one_is_missing_at_a_bounded_rate(clock: Clock) -> None:
    place = Place()
    source = place.source()
    source.look()
    assert place.fetches == 0
    assert source.may_have("HS256")
    assert not source.may_have("RS256")
    await source.find()
    assert source.keys == [A]
    for _ in range(50):
        assert not source.may_have("HS256")  # it is known now that there is no other
    place.keys = [A, B]
    clock.now_s += FETCH_S
    assert source.may_have("HS256")
    await source.find()
    assert source.keys == [A, B]
    assert place.fetches == 2
    assert source.version == 2


async def test_concurrent_callers_share_a_fetch(clock: Clock) -> None:
    place = Place()
    source = place.source()
    place.open.clear()
    waiting = [asyncio.create_task(source.find()) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # one that leaves does not end it for the others
    place.open.set()
    await asyncio.gather(*waiting[1:])
    assert place.fetches == 1


async def test_old_keys_serve_while_the_place_is_down(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place()
    source = place.source()
    await source.find()
    place.down = True
    clock.now_s += 100 * FRESH_S
    source.look()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.keys == [A]
    assert "it is down" in caplog.text
    for _ in range(10):
        source.look()
    await asyncio.sleep(0)
    assert place.fetches == 2
    with pytest.raises(BackendUnavailableError):
        await source.find()
    assert place.fetches == 2
    clock.now_s += 2 * FETCH_S
    place.down, place.keys = False, [B]
    source.look()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.keys == [B]


async def test_keys_that_can_not_be_fetched_are_trouble_that_passes(clock: Clock) -> None:
    place = Place()
    place.down = True
    source = place.source()
    with pytest.raises(BackendUnavailableError):
        await source.find()
    with pytest.raises(BackendUnavailableError):
        await source.find()
    assert place.fetches == 1
    assert source.may_have("HS256")


async def test_given_keys_stay(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("one")
    for source in (GivenKeys([A]), FileKeys(str(path), of_text)):
        source.look()
        await source.find()
        assert not source.may_have("HS256")
        assert len(source.keys) == 1
