"""Which perturbations are vectors: by the exact check, by Hypothesis' smallest counterexample, and through autograd."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.theory.decided import verdicts
from tests.theory.smallest import assert_hypothesis_finds
from theory.monge_invariance import CLAIMS, Instance, check, check_along, instance, metric, pushed, solve
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def instances(draw, numbers=None):
    """Integers first, and then floats up to 1e25; singular maps and g = 0 are no instances.

    Shrinking moves what is not zero to the end and the size to 1, so that the last coordinates are the ones kept.
    """
    if numbers is None:
        numbers = st.integers(-4, 4) | st.floats(-1e25, 1e25)
    n = draw(st.integers(1, 3))
    at, bend, gradient = (np.array(draw(st.tuples(*[numbers] * 3)))[-n:] for _ in range(3))
    linear = np.array(draw(st.tuples(*[numbers] * 9))).reshape(3, 3)[-n:, -n:] + np.eye(n)
    try:
        return Instance(gradient, linear, bend, at)
    except ValueError:
        reject()


def test_the_smallest_counterexample_is_the_one_in_the_ledger():
    assert_hypothesis_finds(CLAIMS["M3"], instances(st.integers(0, 4)), examples=2000)


def test_the_step_of_a_scaling_by_three():
    _, ours, theirs = pushed(Instance(np.array([0.3, -0.8]), 3 * np.eye(2), np.zeros(2), np.zeros(2)), pulled_back=False)
    steps = [[0.1 * math.copysign(abs(float(x)) ** 0.5, x) for x in vector] for vector in (ours, theirs)]
    assert np.allclose(steps, [[0.0383, -0.1021], [0.0267, -0.0712]], atol=5e-5)


def test_the_counterexamples_show_the_map():
    assert all("J = " in verdict.counterexample for verdict in verdicts("M3"))


@settings(deadline=None)
@given(instances())
def test_the_metric_pulled_back_is_invariant_whatever_the_map(drawn):
    assert check_along(drawn).outcome is Outcome.HOLDS
    assert check(drawn, altered=True).outcome in (Outcome.HOLDS, Outcome.UNDECIDED)


@settings(deadline=None)
@given(instances(st.integers(-3, 3)))
def test_undecided_is_where_the_two_agree(drawn):
    outer = np.array(drawn.jacobian, float) @ np.array(drawn.jacobian, float).T
    agree = (outer @ drawn.gradient == drawn.gradient).all()
    assert check(drawn).outcome is (Outcome.UNDECIDED if agree else Outcome.FAILS)


@settings(deadline=None)
@given(instances(st.integers(-3, 3)))
def test_sam_agrees_with_itself_exactly_where_monge_sam_does(drawn):
    _, ours, theirs = pushed(drawn, pulled_back=False, monge=False)
    assert (ours == theirs) is (check(drawn).outcome is Outcome.UNDECIDED)


def test_a_sam_that_was_invariant_would_be_noticed(monkeypatch):
    def along(drawn, pulled_back, monge=True):
        return pushed(drawn, pulled_back or not monge, monge)

    monkeypatch.setattr("theory.monge_invariance.pushed", along)
    verdict = check(instance(0), altered=True)
    assert verdict.outcome is Outcome.FAILS and "SAM's perturbations agree" in verdict.counterexample


@pytest.mark.parametrize("linear", [[[0, 1], [1, 0]], [[0, -1], [1, 0]], [[-1, 0], [0, 1]]])
def test_orthogonal_maps_leave_nothing_to_decide(linear):
    drawn = Instance(np.array([2, -1]), np.array(linear), np.zeros(2), np.zeros(2))
    verdict = check(drawn)
    assert verdict.outcome is Outcome.UNDECIDED and "changes lengths" in verdict.missing
    _, ours, theirs = pushed(drawn, pulled_back=False)
    assert ours == theirs


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_as_an_implementation_sees_it(seed):
    """The closed form from gradients that autograd takes through a smooth map, at a point and in float64."""
    rng = np.random.default_rng(seed)
    phi, weights, linear = (torch.from_numpy(rng.normal(size=shape)) for shape in (3, 3, (3, 3)))

    def chart(phi):
        return linear @ torch.sinh(phi)

    def loss(theta):
        return torch.tanh(weights @ theta) + theta @ theta / 4

    def closed(g):
        return g / (g.norm() * (1 + g @ g).sqrt())

    jacobian = torch.func.jacrev(chart)(phi)
    inside = closed(torch.func.grad(lambda phi: loss(chart(phi)))(phi))
    g = torch.func.grad(loss)(chart(phi))
    drawn = Instance(g.numpy(), jacobian.numpy(), np.zeros(3), np.zeros(3))
    for ours, vector in zip(pushed(drawn, pulled_back=False), (inside, jacobian @ inside, closed(g)), strict=True):
        assert np.allclose(np.array(ours, float), (vector * vector.abs()).numpy(), rtol=1e-8, atol=1e-12)
    assert not torch.allclose(jacobian @ inside, closed(g), rtol=1e-6)


@settings(deadline=None)
@given(arrays(np.int64, (3, 3), elements=st.integers(-5, 5)), arrays(np.int64, (3, 2), elements=st.integers(-5, 5)))
def test_elimination_is_exact(matrix, right):
    exact, wanted = ([[Fraction(x) for x in row] for row in part.tolist()] for part in (matrix, right))
    if round(np.linalg.det(matrix)) == 0:
        with pytest.raises(ValueError, match="singular, so φ are no coordinates at this point; pass another"):
            solve(exact, wanted)
    else:
        found = solve(exact, wanted)
        assert np.allclose(matrix @ np.array(found, float), right, atol=1e-9)


def test_the_metric_without_its_gradient_is_the_identity():
    column = [[Fraction(2)], [Fraction(3)]]
    assert metric(column) == [[5, 6], [6, 10]] and metric(column, monge=False) == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "gradient, linear, bend, at, cause",
    [
        ([0, 0], np.eye(2), [0, 0], [0, 0], "pass a gradient that is not zero"),
        ([1, 0], np.ones((2, 2)), [0, 0], [0, 0], "pass another map or point"),
        ([1], [[1]], [1], [-1], "pass another map or point"),
        ([1], [[1e-200]], [0], [0], "singular to 1e-100"),
        ([np.nan], [[1]], [0], [0], "not finite"),
        ([1], [[np.inf]], [0], [0], "not finite"),
        ([1e31], [[1]], [0], [0], "past 1e30"),
    ],
)
def test_bad_input_names_cause_and_cure(gradient, linear, bend, at, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(*map(np.array, (gradient, linear, bend, at)))
