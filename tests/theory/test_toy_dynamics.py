"""The six methods against their definitions, and the runs that they make."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from theory.toy_dynamics import METHODS, first_crossing, iterates, kl, radius_of_length
from theory.toy_loss import OF_THE_FIGURE

SEEDS = st.integers(0, 2**32 - 1)


def points(seed, n=40, loss=OF_THE_FIGURE):
    rng = np.random.default_rng(seed)
    theta = np.stack([rng.uniform(-40, 40, n), rng.uniform(5, 60, n)])
    return theta, loss.gradient(theta), 10 ** rng.uniform(-2, 0, n)


def inverse_metric(name, theta, g):
    """G⁻¹ at one point."""
    mu, sigma = theta
    return {
        "SAM": np.eye(2),
        "ASAM": np.diag([mu**2, sigma**2]),
        "FSAM": np.linalg.inv(np.diag([1 / sigma**2, 2 / sigma**2])),
        "Monge": np.linalg.inv(np.eye(2) + np.outer(g, g)),
    }[name]


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.sampled_from(["SAM", "ASAM", "FSAM", "Monge"]))
def test_no_point_of_the_ball_does_better(seed, name):
    theta, g, rho = points(seed)
    epsilon = METHODS[name](theta, g, rho)
    angle = np.linspace(0, 2 * np.pi, 2001)
    for k in range(theta.shape[1]):
        root = np.linalg.cholesky(inverse_metric(name, theta[:, k], g[:, k]))
        ball = rho[k] * root @ np.stack([np.cos(angle), np.sin(angle)])
        best = (g[:, k] @ ball).max()
        reached = g[:, k] @ epsilon[:, k]
        assert best <= reached * (1 + 1e-12) <= best * (1 + 1e-5)
        assert np.linalg.norm(np.linalg.solve(root, epsilon[:, k])) == pytest.approx(rho[k], rel=1e-9)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.floats(0.01, 3))
def test_kl_is_met_exactly_on_the_ray_of_fsam(seed, rho):
    theta, g, _ = points(seed)
    radius = np.full(theta.shape[1], rho)
    epsilon, ray = (METHODS[name](theta, g, radius) for name in ("KL", "FSAM"))
    assert np.abs(epsilon[0] * ray[1] - epsilon[1] * ray[0]).max() <= 1e-12 * np.hypot(*epsilon).max() * np.hypot(*ray).max()
    assert (epsilon * ray >= 0).all() and (theta[1] + epsilon[1] > 0).all()
    old, new = (Normal(*torch.from_numpy(at)) for at in (theta, theta + epsilon))
    assert kl_divergence(new, old).numpy() == pytest.approx(rho**2 / 2, rel=1e-8)


@given(st.floats(0, 2 * math.pi), st.floats(1e-3, 3), st.floats(1e-3, 0.999))
def test_no_crossing_comes_earlier(angle, rho, part):
    a, b = np.array([math.cos(angle)]), np.array([math.sin(angle) / math.sqrt(2)])
    t = first_crossing(a, b, np.array([rho]))
    assert kl(t * a, t * b)[0] == pytest.approx(rho**2 / 2, rel=1e-9)
    assert kl(part * t * a, part * t * b)[0] < rho**2 / 2


@given(SEEDS, st.sampled_from(list(METHODS)))
def test_without_a_gradient_nothing_moves(seed, name):
    theta, g, rho = points(seed)
    assert (METHODS[name](theta, 0 * g, rho) == 0).all()


@given(SEEDS, st.sampled_from([name for name in METHODS if name != "GD"]), st.floats(0.05, 4))
def test_a_radius_gives_its_length(seed, name, length):
    theta, g, _ = points(seed)
    wanted = np.full(theta.shape[1], length)
    rho = radius_of_length(name, theta, g, wanted)
    assert np.hypot(*METHODS[name](theta, g, rho)) == pytest.approx(length, rel=1e-8)


def test_no_kl_ball_reaches_out_of_the_domain():
    theta, g = np.array([[20.0], [31.0]]), np.array([[0.0], [-1.0]])
    assert np.isinf(radius_of_length("KL", theta, g, np.array([31.0])))
    assert np.isfinite(radius_of_length("KL", theta, g, np.array([30.9])))


@given(SEEDS, st.floats(1e-3, math.sqrt(2) * (1 - 1e-12)))
def test_below_the_root_of_two_no_probe_of_fsam_leaves(seed, rho):
    theta, g, _ = points(seed)
    assert (theta[1] + METHODS["FSAM"](theta, g, np.full(theta.shape[1], rho))[1] > 0).all()


def test_a_run_that_left_stands_still():
    theta = np.array([[20.0, 20.0], [25.0, 35.0]])
    run = iterates(OF_THE_FIGURE, METHODS["FSAM"], theta, np.full(2, 100.0), np.array([1.5, 0.1]))
    first, second = next(run), next(run)
    assert first.alive.tolist() == second.alive.tolist() == [False, True]
    assert (second.theta[:, 0] == theta[:, 0]).all() and (second.theta[:, 1] != theta[:, 1]).any()
