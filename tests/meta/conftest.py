"""Meta-tests ask whether a law refutes, not for the smallest refutation, nor for a second."""

import pytest
from hypothesis import Phase, settings

ONE = {"phases": [Phase.generate], "report_multiple_bugs": False}
settings.register_profile("meta", deadline=None, derandomize=True, database=None, max_examples=30, **ONE)


@pytest.fixture(autouse=True)
def _without_shrinking():
    before = settings.get_current_profile_name()
    settings.load_profile("meta")
    yield
    settings.load_profile(before)
