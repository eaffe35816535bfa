"""What the grants of a request come to."""

from __future__ import annotations

import pytest

from broadcaster.core.access.grants import Holder, covered, holder_of, narrowed
from broadcaster.core.access.policy import Denied, Grant
from broadcaster.core.access.rights import ALL, Keys

NONE = frozenset[str]()


def keys(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.mark.parametrize(
    ("granted", "asked", "gets"),
    [
        (None, NONE, None),
        (None, keys("7"), keys("7")),
        (keys("*"), NONE, NONE),
        (keys("*", "7"), NONE, NONE),
        (keys("*"), keys("8"), keys("8")),
        (keys("*"), keys("*"), keys("*")),  # an event may have this key
        (keys("7", "8"), NONE, keys("7", "8")),
        (keys("7", "8"), keys("8"), keys("8")),
        (keys("", "7"), NONE, keys("7")),
    ],
)
def test_a_grant_covers_its_keys(
    granted: frozenset[str] | None, asked: frozenset[str], gets: frozenset[str] | None
) -> None:
    assert covered(Grant(keys=granted), "orders", asked, 0.0) == gets


@pytest.mark.parametrize("beyond", ["8", "*", "", "7:8", "7/8", "7\0", "\uff17", "7\u0301", "o*"])
def test_a_key_beyond_the_grant_is_refused_and_never_left_out(beyond: str) -> None:
    found = covered(Grant(keys=keys("7", "o")), "orders", keys("7", beyond), 0.0)
    assert found == Denied(f"key {beyond!r} of 'orders' is not granted")


def test_a_grant_of_no_key_is_no_grant_of_all_keys() -> None:
    assert covered(Grant(keys=NONE), "orders", NONE, 0.0) == Denied("no key of 'orders' is granted")
    assert isinstance(covered(Grant(keys=NONE), "orders", keys("7"), 0.0), Denied)
    assert isinstance(covered(Grant(keys=keys("")), "orders", NONE, 0.0), Denied)


def test_a_grant_that_has_ended_is_none() -> None:
    grant = Grant(keys=keys("*"), expires_s=100.0)
    assert covered(grant, "orders", NONE, 99.9) == NONE
    assert covered(grant, "orders", NONE, 100.0) == Denied("the grant has expired", 401)


@pytest.mark.parametrize(
    ("granted", "left", "covers"),
    [
        (None, ALL, None),
        (keys("7", "8"), ALL, keys("7", "8")),
        (None, keys("7"), keys("7")),
        (keys("*"), keys("7"), keys("7")),
        (keys("*", "8"), keys("7"), keys("7")),
        (keys("7", "8"), keys("7", "9"), keys("7")),
        (keys("8"), keys("7"), NONE),
        (NONE, keys("7"), NONE),
    ],
)
def test_a_ticket_leaves_of_a_grant_what_it_is_for(
    granted: frozenset[str] | None, left: Keys, covers: frozenset[str] | None
) -> None:
    assert narrowed(Grant("ann", granted, 9.0), left) == Grant("ann", covers, 9.0)


def test_the_holder_is_one_subject_until_the_first_grant_ends() -> None:
    both = [Grant("ann", expires_s=9), Grant("ann", expires_s=7)]
    assert holder_of([Grant(), Grant()], {}, 3) is None
    assert holder_of([Grant("ann"), Grant()], {}, 3) == Holder("ann", None, "", 3)
    assert holder_of(both, {}, 3) == Holder("ann", 7, "", 3)
    assert holder_of([Grant()], {"exp": 5}, 3) == Holder("", 5)
    assert holder_of([Grant("ann", expires_s=9)], {"exp": 5}, 3) == Holder("ann", 5)


def test_the_holder_of_a_token_is_the_one_that_a_revocation_names() -> None:
    claims = {"sub": "ann", "jti": "t1", "iat": 2, "exp": 5}
    assert holder_of([Grant()], claims, 3) == Holder("ann", 5, "t1", 2)
    assert holder_of([Grant("bob")], claims, 3) == Holder("bob", 5, "t1", 2, "ann")


def test_grants_of_two_subjects_are_a_mistake_of_the_policy() -> None:
    with pytest.raises(ValueError, match=r"different subjects: \['ann', 'bob'\]"):
        holder_of([Grant("bob"), Grant("ann")], {}, 3)
