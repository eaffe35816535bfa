"""Which requests are looked at, and when."""

from __future__ import annotations

from broadcaster.core.event import EventId
from broadcaster.core.log import Known
from broadcaster.core.runs.pending import FIRST_LOOK_S, LOOK_S, MAX_LEFT, Due, Pending

GRACE_S, TTL_S = 15.0, 600.0


def run(number: int) -> Known:
    return Known("requests", "a", f"k{number}", EventId(number, 0))


def pending(*runs: Known) -> Pending:
    made = Pending(grace_s=GRACE_S, ttl_s=TTL_S)
    for one in runs:
        made.add(one, 0.0)
    return made


def here(_: EventId) -> bool:
    return True


def gone(_: EventId) -> bool:
    return False


NONE = Due([], [])


def test_a_request_is_struck_out_some_time_after_its_client_has_left() -> None:
    requests = pending(run(1))
    assert requests.due(0.5, here) == NONE
    assert requests.due(2.0, gone) == NONE
    assert requests.due(2.0 + GRACE_S - 0.1, gone) == NONE
    assert requests.due(2.0 + GRACE_S, gone) == Due([run(1)], [])
    requests.forget(run(1))
    requests.forget(run(1))
    assert len(requests) == 0


def test_a_client_that_comes_back_in_time_keeps_its_request() -> None:
    requests = pending(run(1))
    requests.due(1.0, gone)
    assert requests.due(1.0 + GRACE_S, here).strike == []
    requests.add(run(1), 1.0 + GRACE_S)
    assert requests.due(2.0 + GRACE_S, gone) == NONE
    assert requests.due(2.0 + 2 * GRACE_S, gone).strike == [run(1)]


def test_of_many_that_are_left_the_oldest_go_at_once() -> None:
    runs = [run(number) for number in range(MAX_LEFT + 3)]
    requests = pending(*runs)
    assert requests.due(1.0, lambda id_: id_ == EventId(0, 0)).strike == runs[1:3]


def test_a_request_whose_client_waits_is_looked_at_now_and_then() -> None:
    requests = pending(run(1))
    for due_s in (FIRST_LOOK_S, FIRST_LOOK_S + LOOK_S):
        assert requests.due(due_s - 0.1, here) == NONE
        assert requests.due(due_s, here) == Due([], [run(1)])
        assert requests.due(due_s + 0.1, here) == NONE


def test_a_request_expires_also_where_its_client_waits() -> None:
    assert pending(run(1)).due(TTL_S, here) == Due([run(1)], [])
