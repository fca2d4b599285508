"""Steps on batches that are not verified do what steps without checks do, and the price follows from those that are."""

import pytest

from experiments.benchmarks import checks
from experiments.benchmarks.fisher_cost import CASES
from geosam.engines.schedule import SHARE


@pytest.mark.parametrize("metric", checks.ROWS, ids=repr)
def test_only_a_verified_batch_takes_more_operations(metric):
    jobs = checks._jobs(CASES[0], metric)
    for _ in range(checks.FIRST + 1):
        jobs["first"].run()
    counts = [*checks._counts(jobs).values()]
    assert counts[0] == counts[1] < counts[2] < 2 * counts[0]


def test_the_price_is_that_of_the_batches_that_are_verified():
    found = checks.price(2.0, 0.1)
    assert found["mean step"] == 1 + SHARE and found["error"] == pytest.approx(0.1 * SHARE) and found["met"]
    assert not checks.price(3.0, 0.0)["met"]
