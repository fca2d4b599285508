"""Monge SAM as SAM with a smaller radius, against argmax by brute force, autograd and the embedding of the graph."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from tests.theory.decided import verdicts
from theory.monge import Instance, check, direction
from theory.verdict import Outcome

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def instances(draw):
    """Gradients of any scale, single coordinates and equal entries among them; Hessians that may vanish."""
    n = draw(st.integers(1, 4))
    scale = 10.0 ** draw(st.integers(-150, 150))
    gradient = draw(arrays(float, n, elements=st.floats(-4, 4, width=32)).filter(np.any)) * scale
    hessian = draw(arrays(float, (n, n), elements=st.floats(-1e6, 1e6))) * draw(st.sampled_from([0.0, 1e-100, 1.0, 1e100]))
    return Instance(gradient, hessian)


def test_the_closed_form_holds_to_rounding_and_the_altered_one_shows_its_length():
    assert all(verdict.worst_error < 1e-14 for verdict in verdicts("M2"))
    assert all("ρ²" in verdict.counterexample for verdict in verdicts("M2", altered=True))


@settings(deadline=None)
@given(instances())
def test_no_gradient_is_too_small_or_too_large_for_the_verdict(drawn):
    assert check(drawn).outcome is Outcome.HOLDS
    assert check(drawn, altered=True).outcome is Outcome.FAILS


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.floats(0.1, 10))
def test_an_optimiser_finds_the_same_maximum(seed, size):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=int(rng.integers(2, 5)))
    g *= size / np.linalg.norm(g)
    metric = np.eye(len(g)) + np.outer(g, g)
    ball = {"type": "ineq", "fun": lambda e: 1 - e @ metric @ e, "jac": lambda e: -2 * metric @ e}
    found = minimize(lambda e: -(g @ e) / size, g / (10 * size**2), jac=lambda e: -g / size, constraints=ball, tol=1e-12)
    closed = g / (size * math.sqrt(1 + size**2))
    assert np.allclose(found.x, closed, atol=1e-4 * np.linalg.norm(closed))


@settings(deadline=None)
@given(SEEDS)
def test_the_metric_is_the_length_on_the_graph_of_the_loss(seed):
    rng = np.random.default_rng(seed)
    theta, epsilon, linear = (torch.from_numpy(rng.normal(size=3)) for _ in range(3))

    def graph(point):
        return torch.cat([point, torch.tanh(linear @ point).view(1)])

    g = torch.func.grad(lambda point: graph(point)[-1])(theta)
    moved = torch.func.jacrev(graph)(theta) @ epsilon
    assert torch.isclose(moved @ moved, epsilon @ epsilon + (g @ epsilon) ** 2, rtol=1e-12)


@settings(deadline=None)
@given(SEEDS, st.floats(1e-3, 10))
def test_the_direction_is_the_gradient_at_the_perturbed_point(seed, radius):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    hessian, theta, linear = rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=n)
    hessian = hessian + hessian.T

    def loss(point):
        return point @ torch.from_numpy(hessian) @ point / 2 + torch.from_numpy(linear) @ point

    g = torch.func.grad(loss)(torch.from_numpy(theta))
    there = torch.func.grad(loss)(torch.from_numpy(theta) + radius * g / g.norm())
    assert np.allclose(direction(g.numpy(), hessian, radius), there.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "gradient, hessian, cause",
    [
        (np.zeros(2), np.eye(2), "pass a gradient that is not zero"),
        (np.array([]), np.eye(0), "pass a gradient that is not zero"),
        (np.array([np.nan, 1.0]), np.eye(2), "not finite"),
        (np.ones(2), np.full((2, 2), np.inf), "not finite"),
        (np.ones(2), np.full((2, 2), 1e308), "past 1e300; pass smaller numbers"),
        (np.ones(2), np.eye(3), r"pass \(n, n\)"),
    ],
)
def test_bad_input_names_cause_and_cure(gradient, hessian, cause):
    with pytest.raises(ValueError, match=cause):
        Instance(gradient, hessian)
