"""Exceptions at random moments of a step; ``python -m tests.moments`` raises a thousand for every metric."""

import pytest

from tests.moments import run

SOME = [("Fisher, conjugate gradients", False), ("KLExact", True), ("EmpiricalFisher, Func", False)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where Python passes no exception on
@pytest.mark.parametrize("name, frozen", SOME)
def test_the_model_and_torch_are_as_they_were(name, frozen):
    found = run(name, frozen, moments=8, seed=3)
    assert not isinstance(found, str) and found.hit == 8 and not found.said
