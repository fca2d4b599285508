"""The preconditioned form: its two laws, which the balls outside violate, and its smallest counterexamples."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.theory.decided import verdicts
from tests.theory.smallest import assert_hypothesis_finds
from theory.preconditioning import CLAIMS, Instance, check, check_rise, preconditioned
from theory.separate_norms import balls, defect
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def instances(draw, numbers=None):
    """Small integers, equal and vanishing gradients among them; every size that is legal if numbers are not given."""
    if numbers is None:
        numbers = st.integers(-3, 3) | st.floats(-1e29, 1e29).filter(lambda x: abs(x) > 1e-29) | st.floats(-4, 4, width=16)
    m, n = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    # The last of the entries, so that a smaller size keeps what shrinking has not set to zero.
    rows = np.array(draw(st.tuples(*[numbers] * 12)), float).reshape(3, 4)[-m:, -n:]
    assume(rows[-1].any())
    weights = np.array(draw(st.tuples(*[numbers.filter(bool)] * 4)), float)[-n:]
    damping, logit = draw(st.sampled_from([1.0, 1e-8, 1e8])), draw(st.sampled_from([1.0, -1.0, 0.01, 4.0]))
    return Instance(rows, weights, n - draw(st.integers(1, n - 1)), damping, logit)


@pytest.mark.parametrize("claim", ["P1", "P1a"])
def test_the_smallest_counterexample_is_the_one_in_the_ledger(claim):
    assert_hypothesis_finds(CLAIMS[claim], instances(st.integers(0, 3)), examples=1000)


def test_the_counterexamples_are_balls_outside_and_the_pairs_hold_to_rounding():
    assert all(verdict.worst_error < 1e-6 and "sup norm" in verdict.counterexample for verdict in verdicts("P1"))
    assert all(verdict.worst_error < 1 + 1e-9 for verdict in verdicts("P1a"))


@settings(deadline=None)
@given(instances())
def test_no_instance_gets_a_wrong_verdict(drawn):
    both = all(drawn.gradient[part].any() for part in drawn.layers)
    assert check(drawn).outcome is (Outcome.CORRECTED if both else Outcome.UNDECIDED)
    assert check_rise(drawn).outcome in (Outcome.CORRECTED, Outcome.UNDECIDED)


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_any_pair_obeys_both_laws(seed):
    rng = np.random.default_rng(seed)
    D, C = rng.normal(size=(3, 3)), rng.normal(size=(4, 3))

    def ball(g):
        return preconditioned(D, g, C)

    one, other = rng.normal(size=(2, 3))
    assert defect(ball, one, other) < 1e-9 * np.linalg.cond(C) ** 2
    assert np.allclose(ball(-one), -ball(one), rtol=1e-12)
    assert min(defect(*case) for case in balls(one, other, (0.3, 1.1)).values()) > 0.5


@settings(deadline=None)
@given(SEEDS)
def test_any_ascent_direction_is_that_of_some_metric(seed):
    g, epsilon = np.random.default_rng(seed).normal(size=(2, 4))
    epsilon *= np.sign(g @ epsilon)
    metric = np.eye(4) - np.outer(epsilon, epsilon) / (epsilon @ epsilon) + np.outer(g, g) / (g @ epsilon)
    assert np.linalg.eigvalsh(metric).min() > 0 and np.allclose(metric @ epsilon, g)
