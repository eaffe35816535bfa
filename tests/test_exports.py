"""What `import broadcaster` offers: what a user can use, and nothing else.

That the API reference has the same names is a test of the documents.
"""

from __future__ import annotations

import inspect

import pytest

import broadcaster
from broadcaster import errors


@pytest.mark.parametrize("name", broadcaster.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(broadcaster, name) is not None


def test_the_names_are_sorted() -> None:
    assert list(broadcaster.__all__) == sorted(broadcaster.__all__)


def test_public_errors_are_those_of_the_errors_module() -> None:
    offered = [getattr(broadcaster, name) for name in broadcaster.__all__]
    public = {x for x in offered if inspect.isclass(x) and issubclass(x, BaseException)}
    here = {x for x in vars(errors).values() if inspect.isclass(x)}
    assert public == {x for x in here if issubclass(x, BaseException)}
    assert all(issubclass(error, errors.BroadcasterError) for error in public)
