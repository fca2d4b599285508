"""The last lines of the proof, with numbers put in: against decimals, and over extreme constants."""

import math
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.smallest import assert_hypothesis_finds
from theory.pac_bayes.final_step import CLAIMS, Instance, check, check_order, constant
from theory.verdict import Outcome

whole = st.integers(1, 9).map(float)
simple = st.builds(Instance, st.integers(1, 9), st.integers(2, 99), st.just(0.5), whole, whole, st.just(0.0), whole, whole)
scale = st.floats(-6, 6).map(lambda e: 10.0**e)
anything = st.builds(
    Instance,
    st.integers(1, 10**9),
    st.integers(2, 10**9),
    st.floats(1e-9, 0.999),
    scale,
    scale,
    st.floats(0, 0.999),
    scale,
    scale,
    scale,
)


def test_the_smallest_counterexample_is_the_one_that_is_stored():
    assert_hypothesis_finds(CLAIMS["F6.33"], simple, examples=2000)


@settings(deadline=None, max_examples=100)
@given(anything)
def test_no_constants_refute_either(drawn):
    assert check(drawn).outcome is Outcome.CORRECTED
    assert check_order(drawn).outcome is Outcome.HOLDS


def test_the_sum_under_the_root_in_decimals():
    drawn = Instance(4, 100, 0.1, 0.5, 0.25, 0.125, 3.0, 4.0)
    log_n, k = Decimal(100).ln(), Decimal(4)
    fit = Decimal("0.0625") * (k.sqrt() + log_n.sqrt()) ** 2 / (2 * Decimal("0.25"))
    expected = fit + k * Decimal("0.125") + (Decimal(100) / Decimal("0.1")).ln() + k * Decimal(49).ln()
    assert drawn.complexity == pytest.approx(float(expected), rel=1e-14)
    assert drawn.rho == pytest.approx(0.5 / (2 + math.sqrt(math.log(100))), rel=1e-15)


def test_the_constant_grows_as_the_radius_shrinks_and_is_else_fixed():
    drawn = Instance(50, 1000, 0.1, 0.1, 0.1, 0.1, 3.0, 4.0)
    assert constant(replace(drawn, dimension=10**6, samples=10**8)) == pytest.approx(constant(drawn), rel=1e-12)
    smaller = replace(drawn, gamma=1e-6, radius=1e-6)
    assert constant(smaller) - constant(drawn) == pytest.approx(math.log(1e5), rel=0.01)


@pytest.mark.parametrize(
    "change, cause",
    [
        ({"dimension": 0}, "dimension = 0"),
        ({"samples": 1}, "samples = 1 .* at least 2"),
        ({"delta": 1.5}, "delta = 1.5 lies outside"),
        ({"gamma": 0.0}, "gamma = 0.0 is not positive"),
        ({"radius": -1.0}, "radius = -1.0"),
        ({"epsilon": 1.0}, "epsilon = 1.0 is no relative change"),
        ({"epsilon": float("nan")}, "epsilon = nan"),
        ({"largest": float("inf")}, "largest = inf"),
        ({"l_max": 0.0}, "l_max = 0.0"),
    ],
)
def test_bad_input_is_an_error(change, cause):
    with pytest.raises(ValueError, match=cause):
        replace(Instance(4, 100, 0.1, 0.5, 0.25, 0.125, 3.0, 4.0), **change)
