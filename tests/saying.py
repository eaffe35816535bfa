"""Errors whose whole text a reader needs."""

from __future__ import annotations

import re
from typing import TypeVar

import pytest

E = TypeVar("E", bound=BaseException)


def saying(error: type[E], text: str) -> pytest.RaisesExc[E]:
    """Expect an error of a kind that says this, and nothing else."""
    return pytest.raises(error, match=rf"\A{re.escape(text)}\Z")
