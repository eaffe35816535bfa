"""Which tokens a revocation concerns, and for how long it is remembered."""

from __future__ import annotations

import pytest

from broadcaster.core.access.revocations import Revocations


def of(*names: str, at_ms: int = 5500) -> Revocations:
    made = Revocations()
    for name in names:
        made.add(name, at_ms)
    return made


@pytest.mark.parametrize(
    ("bearer", "concerned"),
    [
        (("ann", "t1", 4), True),
        (("ann", "t1", 5), True),  # issued in the same second
        (("ann", "t1", 5.5), True),
        (("ann", "t1", 6), False),  # a later login
        (("ann", "t1", None), True),
        (("bob", "t1", 4), False),
        (("bob", "ann", 4), True),
        (("bob", "ann", 6), False),
        (("", "", None), False),
    ],
)
def test_it_concerns_what_was_issued_before_it(
    bearer: tuple[str, str, float | None], concerned: bool
) -> None:
    assert of("ann").concerns(*bearer) == concerned
    assert not of().concerns(*bearer)


def test_an_empty_name_concerns_no_token_without_a_name() -> None:
    assert not of("").concerns("", "", None)


def test_the_newest_revocation_of_a_name_counts() -> None:
    known = of("ann", at_ms=1)
    assert known.concerns("ann", "", 0)
    assert known.add("ann", 9000)
    assert not known.add("ann", 9000)  # it is read again
    assert not known.add("ann", 100)
    assert known.concerns("ann", "", 8)
    assert len(known) == 1


def test_it_is_forgotten_when_no_token_can_be_as_old() -> None:
    known = of("ann", "bob")
    known.add("bob", 9000)
    known.forget(5500)
    assert known.concerns("ann", "", 4)
    known.forget(5501)
    assert not known.concerns("ann", "", 4)
    assert known.concerns("bob", "", 4)
    assert len(known) == 1
