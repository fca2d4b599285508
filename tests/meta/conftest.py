"""Meta-tests ask whether a law refutes, not for the smallest refutation."""

import pytest
from hypothesis import Phase, settings

settings.register_profile("meta", deadline=None, derandomize=True, database=None, phases=[Phase.generate], max_examples=30)


@pytest.fixture(autouse=True)
def _without_shrinking():
    before = settings.get_current_profile_name()
    settings.load_profile("meta")
    yield
    settings.load_profile(before)
