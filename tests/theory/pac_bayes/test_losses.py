"""The step from the average to the worst case, against quadrature and sampling, for losses of either sign."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.losses import CLAIMS, Instance, check
from theory.pac_bayes.tail import radius
from theory.verdict import Outcome

integers = st.integers(-9, 9).map(float)
small = st.builds(Instance, st.integers(1, 9), st.integers(1, 99), integers, integers)


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6.32"], small, examples=2000)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 10**6),
    st.integers(1, 10**9),
    st.floats(-1e12, 1e12, allow_nan=False),
    st.floats(-1e12, 1e12, allow_nan=False),
)
def test_nothing_refutes_the_correction(k, n, inside, outside):
    assert check(Instance(k, n, inside, outside)).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)


@given(st.integers(1, 50), st.integers(1, 1000), st.floats(0, 10), st.floats(0, 10))
def test_the_printed_step_is_right_where_no_loss_is_negative(k, n, inside, outside):
    assert check(Instance(k, n, inside, outside)).outcome is Outcome.UNDECIDED


def test_the_average_is_that_of_samples():
    k, n = 2, 4
    length = np.linalg.norm(np.random.default_rng(0).normal(size=(400_000, k)), axis=1)
    found = np.where(length <= radius(k, n), -1.0, 0.0).mean()
    case = check(Instance(k, n, -1.0, 0.0)).counterexample
    stated = float(case.split("E l = ")[1].split(",")[0])
    assert abs(found - stated) < 6 * math.sqrt(0.05 / 400_000)


def test_cross_entropy_passes_every_constant():
    """log(1 + e^u), u ∼ N(0, s²): beyond M + l_max/√n for every l_max if s is large, as M stays what it was inside."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    means = [float(weights @ np.logaddexp(0, s * nodes)) / math.sqrt(2 * math.pi) for s in (1, 10, 1000)]
    assert means[0] < means[1] < means[2] and means[2] > 300


@pytest.mark.parametrize("inside, outside", [(math.inf, 0.0), (0.0, math.inf), (math.nan, 0.0)])
def test_a_loss_without_a_bound_is_an_error(inside, outside):
    with pytest.raises(ValueError, match=r"without a bound .* clip it, or use the zero-one loss"):
        Instance(1, 1, inside, outside)


def test_bad_sizes_are_errors():
    with pytest.raises(ValueError, match="dimension = 0"):
        Instance(0, 1, 0.0, 1.0)
    with pytest.raises(ValueError, match="samples = -1"):
        Instance(1, -1, 0.0, 1.0)
