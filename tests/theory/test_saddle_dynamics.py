"""The boundaries of what the saddle holds, against quadrature and an ODE solver, and its hold on random starts by steps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from theory.banana import Instance
from theory.saddle_dynamics import boundary, descent, gradient, held, monge, sam, step

SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.floats(1e-3, 1.4), st.floats(0.01, 1))
def test_the_boundary_of_sam_is_an_elliptic_integral(phi, rho):
    integral = quad(lambda w: 2 * w / math.sqrt(math.sin(2 * w * w)) if w else math.sqrt(2), 0, math.sqrt(phi))[0]
    # 48 steps of Runge and Kutta: within 1.3e-6 at φ = 1.4, where sin 2φ is small
    assert math.isclose(boundary(phi, sam(rho)), rho * integral / math.sqrt(math.sin(2 * phi)), rel_tol=3e-6)


def flow_of(methods, rhos):
    """θ ↦ −∇ℓ(θ + ε(θ)) for points (n, 2), with gradients by autograd and each point's own method and ρ."""

    def slope(at):
        at = at.detach().requires_grad_()
        return torch.autograd.grad(((1 - at[:, 0] * at[:, 1]) ** 2).sum(), at)[0]

    def flow(at):
        g = slope(at)
        sizes = g.norm(dim=1)
        lengths = [method(rho)(size) for method, rho, size in zip(methods, rhos, sizes.tolist(), strict=True)]
        return -slope(at + (torch.tensor(lengths, dtype=torch.float64) / sizes)[:, None] * g)

    return flow


@settings(deadline=None, max_examples=2)
@given(SEEDS)
def test_the_flow_that_autograd_gives_changes_its_end_at_the_boundary(seed):
    """A hundredth inside of the boundary the saddle holds, a hundredth outside it lets go: 32 flows at once."""
    rng = np.random.default_rng(seed)
    kinds = [(method, factor) for method in (sam, monge) for factor in (0.99, 1.01)] * 8
    methods, factors = zip(*kinds, strict=True)
    rhos, phis = rng.uniform(0.05, 1, 32).tolist(), rng.uniform(0.1, 1.4, 32).tolist()
    edges = [factor * boundary(phi, method(rho)) for (method, factor), rho, phi in zip(kinds, rhos, phis, strict=True)]
    starts = [Instance(rho, math.tan(phi)).start(edge) for rho, phi, edge in zip(rhos, phis, edges, strict=True)]
    at, flow = torch.tensor(starts, dtype=torch.float64), flow_of(methods, rhos)
    gone, kept = np.full(32, False), np.full(32, False)
    for _ in range(1000):
        at = at + 0.02 * flow(at + 0.01 * flow(at))
        points = at.tolist()
        gone |= ~kept & [abs(x + y) > math.sqrt(2) * rho for (x, y), rho in zip(points, rhos, strict=True)]
        lengths = [method(rho)(math.hypot(*gradient(*p))) for method, rho, p in zip(methods, rhos, points, strict=True)]
        kept |= ~gone & [math.hypot(*p) < length / 2 for p, length in zip(points, lengths, strict=True)]
        if (gone | kept).all():
            break
    assert gone.tolist() == [factor > 1 for factor in factors] and kept.tolist() == [factor < 1 for factor in factors]


def count(seed, rate, starts=300):
    """Of random starts near the saddle: held by each method, and the steps of those that are not held by any."""
    rng = np.random.default_rng(seed)
    counts, steps = np.zeros(3, int), []
    for _ in range(starts):
        rho = rng.uniform(0.05, 1)
        start = Instance(rho, math.tan(rng.uniform(0, 1.4))).start(rho * rng.uniform(0.2, 2))
        found, taken = zip(*(held(start, rho, radius, rate) for radius in (descent, monge(rho), sam(rho))), strict=True)
        assert found[1] <= found[2]
        counts += found
        steps += [taken] * (not any(found))
    return counts, np.array(steps)


@pytest.mark.parametrize("rate", [0.1, 0.03])
def test_random_starts_are_held_by_sam_more_often_than_by_monge_sam_and_never_by_descent(rate):
    (never, some, most), steps = count(0, rate)
    assert never == 0 and some > 50 and most > 1.2 * some
    assert (np.diff(steps.mean(0)) > 0).all()  # gradient descent is the first to leave, and SAM the last


def test_what_is_held_stays_and_what_is_let_go_reaches_a_minimum():
    rng = np.random.default_rng(1)
    for _ in range(20):
        rho, rate = rng.uniform(0.05, 0.5), 0.05
        radius = (sam, monge)[rng.integers(2)](rho)
        x, y = start = Instance(rho, math.tan(rng.uniform(0, 1.3))).start(rho * rng.uniform(0.2, 2))
        for _ in range(1000):
            x, y = step(x, y, radius, rate)
        if held(start, rho, radius, rate)[0]:
            assert math.hypot(x, y) < 2 * rate * rho
        else:
            assert (1 - x * y) ** 2 < 0.1


def test_long_steps_are_another_matter():
    """Rate 0.3: Monge SAM is held from starts that SAM leaves, so that the verdict is about flows and short steps."""
    rng = np.random.default_rng(0)
    contrary = 0
    for _ in range(300):
        rho = rng.uniform(0.05, 1)
        start = Instance(rho, math.tan(rng.uniform(0, 1.4))).start(rho * rng.uniform(0.5, 2.5))
        contrary += held(start, rho, monge(rho), 0.3)[0] is True and held(start, rho, sam(rho), 0.3)[0] is False
    assert contrary > 10


def test_steps_that_do_not_show_it_leave_it_open():
    assert held((0.01, 0.0), 0.5, sam(0.05), 1e-9, steps=10) == (True, 0)
    assert held((0.1, 0.0), 0.5, sam(0.05), 1e-9, steps=10) == (None, 10)


def test_at_a_small_radius_monge_sam_lets_go_of_little():
    rho, angles = 0.05, np.linspace(0, math.atan(5), 300)
    areas = [np.trapezoid([boundary(phi, radius) ** 2 / 2 for phi in angles], angles) for radius in (monge(rho), sam(rho))]
    assert round(100 * (1 - boundary(0.0, monge(rho)) / rho), 2) == 0.49
    assert round(100 * (1 - areas[0] / areas[1]), 1) == 1.4


def test_a_start_at_the_saddle_itself_is_held_by_every_method():
    assert all(held((0.0, 0.0), 0.5, radius, 0.01) == (True, 0) for radius in (descent, sam(0.5), monge(0.5)))
