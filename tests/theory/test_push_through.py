"""A re-weighted gradient is the full empirical-Fisher direction; what becomes of it as damping or digits go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.push_through import Instance, check, check_float32, check_limit, float32_errors, instance
from theory.verdict import Outcome

seeds = st.integers(0, 2**32 - 1)
rows = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-4, 4, width=16))
)


@settings(deadline=None)
@given(rows)
def test_the_identity_needs_nothing_of_the_rows(jacobian):
    assert check(Instance(jacobian)).outcome is Outcome.HOLDS


@settings(deadline=None)
@given(rows)
def test_the_limit_holds_or_lacks_independent_rows(jacobian):
    verdict = check_limit(Instance(jacobian))
    independent = np.linalg.matrix_rank(jacobian, rtol=1e-4) == len(jacobian)
    assert verdict.outcome is (Outcome.HOLDS if independent else Outcome.UNDECIDED)


@settings(deadline=None)
@given(rows)
def test_float32_digits_are_kept_or_not_promised(jacobian):
    assert check_float32(Instance(jacobian)).outcome in (Outcome.HOLDS, Outcome.UNDECIDED)


def test_one_sample_cannot_tell_its_damping_from_the_mean_s():
    assert check(Instance(np.array([[3.0, 4.0]])), altered=True).outcome is Outcome.HOLDS


@pytest.mark.parametrize(
    "decide, sizes",
    [
        (check, [1e-170, 1e-160, 1e160, 1e200, np.inf, np.nan]),
        (check_limit, [1e-170, 1e-160, 1e160, 1e200, np.inf, np.nan]),
        (check_float32, [1e-160, 1e-30, 1e-20, 1e-17, 1e17, 1e20, 1e30, 1e160, np.inf, np.nan]),
    ],
)
@pytest.mark.parametrize("altered", [True, False])
def test_rows_whose_products_overflow_or_vanish_decide_nothing(decide, sizes, altered):
    for size in sizes:
        verdict = decide(Instance(size * np.random.default_rng(0).normal(size=(3, 12))), altered)
        assert verdict.outcome is Outcome.UNDECIDED and "finite normal numbers" in verdict.missing


@pytest.mark.parametrize(
    "decide, sizes", [(check, [1e-140, 1e140]), (check_limit, [1e-140, 1e140]), (check_float32, [1e-12, 1e12])]
)
def test_any_size_within_range_is_decided(decide, sizes):
    for size in sizes:
        drawn = Instance(size * np.random.default_rng(0).normal(size=(3, 12)))
        assert decide(drawn).outcome is Outcome.HOLDS and decide(drawn, altered=True).outcome is Outcome.FAILS


@pytest.mark.parametrize("loser", ["woodbury", "dense"])
def test_a_loser_that_kept_its_digits_would_leave_the_claim_undecided(monkeypatch, loser):
    def kept(drawn, relative):
        errors = float32_errors(drawn, relative)
        return errors._replace(**{loser: errors.push_through})

    monkeypatch.setattr("theory.push_through.float32_errors", kept)
    verdict = check_float32(instance(0))
    assert verdict.outcome is Outcome.UNDECIDED and "does not grow as 1/λ" in verdict.missing


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("relative, lost", [(1e-4, 3e-5), (1e-6, 3e-3), (1e-8, 0.3)])
def test_woodbury_and_a_dense_solve_lose_in_float32_what_push_through_keeps(seed, relative, lost):
    errors = float32_errors(instance(seed), relative)
    assert errors.push_through < 1e-6
    assert min(errors.woodbury, errors.dense) > lost


@pytest.mark.parametrize(
    "jacobian",
    [np.outer([0.3, -0.7, 0.9], np.linspace(1, 2, 8)), np.random.default_rng(0).normal(size=(12, 4))],
    ids=["parallel rows", "more rows than parameters"],
)
def test_dependent_rows_cost_push_through_its_digits_too(jacobian):
    drawn = Instance(jacobian)
    assert check_float32(drawn).outcome is Outcome.UNDECIDED
    assert float32_errors(drawn, 1e-2).push_through < 1e-3
    assert not float32_errors(drawn, 1e-6).push_through < 1e-3
