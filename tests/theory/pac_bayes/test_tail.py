"""The exact tail of a chi-square variable against its bounds, against SciPy's distribution and against sampling."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from theory.pac_bayes.tail import Instance, check, radius, tail
from theory.verdict import Outcome


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 10**9), st.integers(1, 10**12))
def test_no_dimension_and_no_sample_size_refute_it(k, n):
    assert check(Instance(k, n)).outcome is Outcome.HOLDS


@given(st.integers(1, 1000), st.floats(0.01, 3000))
def test_it_is_scipys_tail(k, square):
    assert tail(k, square) == pytest.approx(chi2.sf(square, k), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize("k, n", [(1, 10), (3, 100), (50, 20)])
def test_it_is_the_share_of_samples_outside(k, n):
    draws = 200_000
    length = np.sqrt((np.random.default_rng(0).normal(size=(draws // 10, 10, k)) ** 2).sum(2))
    expected, found = tail(k, radius(k, n) ** 2), (length > radius(k, n)).mean()
    assert abs(found - expected) < 6 * math.sqrt(expected / draws) + 1e-9
    assert found <= n**-0.5


@given(st.integers(10, 10**7), st.integers(100, 10**6))
def test_the_radius_without_its_cross_term_is_caught(k, n):
    assert check(Instance(k, n), altered=True).outcome is Outcome.FAILS


def test_one_sample_leaves_the_ball_of_radius_root_k():
    assert radius(9, 1) == 3 and tail(9, 9.0) < 0.5 < 1


@pytest.mark.parametrize("k, n, cause", [(0, 5, "dimension = 0"), (3, 0, "samples = 0"), (2.5, 4, "dimension = 2.5")])
def test_bad_sizes_are_errors(k, n, cause):
    with pytest.raises(ValueError, match=f"{cause} is not a count; pass an integer"):
        Instance(k, n)
    with pytest.raises(ValueError, match=cause):
        radius(k, n)
