"""Which tokens a revocation concerns, and for how long it is remembered."""

from __future__ import annotations

import pytest

from broadcaster.core.revocations import Bearer, Revocations


def of(*names: str, at_ms: int = 5500) -> Revocations:
    made = Revocations()
    for name in names:
        made.add(name, at_ms)
    return made


@pytest.mark.parametrize(
    ("bearer", "concerned"),
    [
        (Bearer("ann", "t1", 4), True),
        (Bearer("ann", "t1", 5), True),  # issued in the same second
        (Bearer("ann", "t1", 5.5), True),
        (Bearer("ann", "t1", 6), False),  # a later login
        (Bearer("ann", "t1", None), True),
        (Bearer("bob", "t1", 4), False),
        (Bearer("bob", "ann", 4), True),
        (Bearer("bob", "ann", 6), False),
        (Bearer("", "", None), False),
    ],
)
def test_it_concerns_what_was_issued_before_it(bearer: Bearer, concerned: bool) -> None:
    assert of("ann").concerns(bearer) == concerned
    assert not of().concerns(bearer)


def test_an_empty_name_concerns_no_token_without_a_name() -> None:
    assert not of("").concerns(Bearer())


def test_the_newest_revocation_of_a_name_counts() -> None:
    known = of("ann")
    known.add("ann", 9000)
    known.add("ann", 100)  # it is read again
    assert known.concerns(Bearer("ann", "", 8))
    assert len(known) == 1


def test_it_is_forgotten_when_no_token_can_be_as_old() -> None:
    known = of("ann", "bob")
    known.add("bob", 9000)
    known.forget(5501)
    assert not known.concerns(Bearer("ann", "", 4))
    assert known.concerns(Bearer("bob", "", 4))
    assert len(known) == 1
