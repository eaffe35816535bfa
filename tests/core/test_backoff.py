from broadcaster.core.backoff import backoff_s


def test_each_failure_doubles_the_wait_up_to_a_bound() -> None:
    assert [backoff_s(failures, 0.1, 0.5) for failures in range(4)] == [0.1, 0.2, 0.4, 0.5]
    assert backoff_s(10_000, 0.1, 5.0) == 5.0


def test_chance_spreads_a_herd_over_the_upper_half() -> None:
    assert backoff_s(1, 1.0, 9.0, chance=0.0) == 1.0
    assert backoff_s(1, 1.0, 9.0, chance=0.5) == 1.5
