from __future__ import annotations

import pytest

from broadcaster import Settings


def test_a_run_that_is_over_says_so_for_a_day() -> None:
    assert (Settings().run_ttl_s, Settings().max_run_bytes) == (86_400, 65_536)


@pytest.mark.parametrize("name", ["max_run_bytes", "run_wait_s", "run_ttl_s"])
def test_none_of_them_is_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Settings.model_validate({name: 0})
