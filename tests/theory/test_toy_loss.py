"""The toy loss against autograd over torch's own KL, its minima against a minimiser, and which slip explains figure 1."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch.autograd.functional import hessian, jacobian
from torch.distributions import Normal, kl_divergence

from tests.theory.smallest import assert_hypothesis_finds
from theory.toy_loss import (
    AS_PRINTED,
    CAPTION,
    CLAIMS,
    HALF_A_PLACE,
    OF_THE_FIGURE,
    Instance,
    ToyLoss,
    critical_point,
)

POSITIVE = st.floats(0.3, 40)
REAL = st.floats(-40, 40)


def pairs(numbers):
    return st.tuples(numbers, numbers)


losses = st.builds(ToyLoss, pairs(REAL), pairs(POSITIVE), pairs(st.floats(0.01, 5)), pairs(st.floats(0.5, 4)), st.floats(-1, 1))


def by_torch(loss, theta):
    """Eq. 15 with torch's KL between normal distributions."""
    here = Normal(theta[0], theta[1])
    logs = []
    for m, s, a, b in zip(loss.means, loss.stds, loss.weights, loss.scales, strict=True):
        there = Normal(torch.tensor(m, dtype=torch.float64), torch.tensor(s, dtype=torch.float64))
        logs.append(math.log(a) - (kl_divergence(here, there) + loss.offset) / b**2)
    return -torch.logsumexp(torch.stack(logs), 0)


@settings(deadline=None, max_examples=50)
@given(losses, REAL, POSITIVE)
def test_value_gradient_and_hessian_are_those_of_autograd(loss, mu, sigma):
    theta = torch.tensor([mu, sigma], dtype=torch.float64)
    value, gradient = loss.look(theta.numpy())
    expected = jacobian(lambda at: by_torch(loss, at), theta)
    bend = hessian(lambda at: by_torch(loss, at), theta)
    # Both sides round terms of these sizes, and weigh them by exponentials of differences of such terms.
    constants = list(zip(loss.means, loss.stds, loss.scales, strict=True))
    rounding = 1e-13 * (1 + max(((mu**2 + sigma**2 + m**2 + s**2) / s**2 + 50) / b**2 for m, s, b in constants))
    slope = max((abs(mu - m) + sigma + s**2 / sigma) / (b * s) ** 2 for m, s, b in constants)
    assert abs(value - by_torch(loss, theta).item()) <= rounding
    assert np.abs(gradient - expected.numpy()).max() <= rounding * slope
    assert np.abs(loss.hessian(theta.numpy()) - bend.numpy()).max() <= rounding * (slope**2 + slope / sigma + 1)
    assert (loss.gradient(theta.numpy()) == gradient).all()


@given(losses, st.integers(0, 2**32 - 1))
def test_many_points_at_once_are_each_point_alone(loss, seed):
    rng = np.random.default_rng(seed)
    theta = np.stack([rng.uniform(-30, 30, 5), rng.uniform(1, 30, 5)])
    value, gradient = loss.look(theta)
    for k in range(5):
        alone = loss.look(theta[:, k])
        assert value[k] == pytest.approx(alone[0], rel=1e-14) and gradient[:, k] == pytest.approx(alone[1], rel=1e-12)


def test_the_smallest_counterexample_is_the_flat_minimum():
    assert_hypothesis_finds(CLAIMS["F8"], st.sampled_from([Instance(name) for name in CAPTION]), examples=100)


@pytest.mark.parametrize("loss", [AS_PRINTED, OF_THE_FIGURE], ids=["as printed", "of the figure"])
@pytest.mark.parametrize("minimum", CAPTION)
def test_newton_finds_what_a_minimiser_finds(loss, minimum):
    def value(theta):
        return by_torch(loss, torch.from_numpy(theta)).item()

    found = minimize(value, CAPTION[minimum][:2], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-14})
    theta = critical_point(loss, CAPTION[minimum][:2])
    assert found.success and theta == pytest.approx(found.x, abs=1e-4)
    assert np.linalg.eigvalsh(loss.hessian(theta))[0] > 0


@pytest.mark.parametrize(
    "loss, expected",
    [
        (AS_PRINTED, {"flat": (19.8101, 29.9366, 0.3564, 0.001007), "sharp": (-16.8047, 12.8025, 0.2752, 0.007246)}),
        (OF_THE_FIGURE, {"flat": (19.8451, 29.9483, 0.5108, 0.001011), "sharp": (-15.9404, 13.4607, 0.4939, 0.005939)}),
    ],
    ids=["as printed", "of the figure"],
)
def test_the_minima_to_four_digits(loss, expected):
    for name, numbers in expected.items():
        theta = critical_point(loss, CAPTION[name][:2])
        assert (*theta, loss.look(theta)[0], np.trace(loss.hessian(theta))) == pytest.approx(numbers, rel=5e-4)


@pytest.mark.parametrize("loss, saddle", [(AS_PRINTED, (0.3103, 22.4990)), (OF_THE_FIGURE, (-1.6327, 21.6182))])
def test_the_saddle(loss, saddle):
    theta = critical_point(loss, (0, 22))
    assert theta == pytest.approx(saddle, abs=6e-5)
    low, high = np.linalg.eigvalsh(loss.hessian(theta))
    assert low < 0 < high


def reproduces(loss, tolerance=1.0):
    """Whether the loss has the printed minima, losses and traces."""
    for printed in CAPTION.values():
        theta = critical_point(loss, printed[:2])
        found = (*theta, loss.look(theta)[0], np.trace(loss.hessian(theta)))
        if max(np.abs(np.subtract(found, printed)) / HALF_A_PLACE) > tolerance:
            return False
    return True


def test_an_offset_is_a_change_of_weights():
    first, second = (a * math.exp(-0.5 / b**2) for a, b in zip(AS_PRINTED.weights, AS_PRINTED.scales, strict=True))
    assert (first, second) == pytest.approx((0.5999, 0.2120), abs=5e-5)
    for weights in ((first, second), (0.5999, 0.2120)):
        assert reproduces(replace(AS_PRINTED, weights=weights))
    assert reproduces(OF_THE_FIGURE) and not reproduces(AS_PRINTED)


def test_constants_that_are_only_near_do_not_reproduce_the_figure():
    near = ToyLoss(weights=(0.6, 0.2), scales=(1.9, 1.2))
    assert critical_point(near, (20, 30)) == pytest.approx((19.837, 29.946), abs=1e-3)
    assert critical_point(near, (-16, 13)) == pytest.approx((-16.014, 13.406), abs=1e-3)
    assert not reproduces(near, tolerance=10)


def log_ratio(mu, sigma, m, s):
    return np.log(s / sigma), (sigma**2 + (mu - m) ** 2) / s**2


def kl(*x):
    return log_ratio(*x)[0] + log_ratio(*x)[1] / 2 - 0.5


def swapped(mu, sigma, m, s):
    return kl(m, s, mu, sigma)


ENERGIES = {
    "KL": kl,
    "no half": lambda *x: log_ratio(*x)[0] + log_ratio(*x)[1] / 2,
    "reversed": swapped,
    "Jeffreys": lambda *x: kl(*x) + swapped(*x),
    "mean of both": lambda *x: (kl(*x) + swapped(*x)) / 2,
    "2 KL": lambda *x: 2 * kl(*x),
    "no 2 below": lambda *x: log_ratio(*x)[0] + log_ratio(*x)[1] - 0.5,
    "variances in the logarithm": lambda *x: 2 * log_ratio(*x)[0] + log_ratio(*x)[1] / 2 - 0.5,
    "σ² forgotten": lambda mu, sigma, m, s: np.log(s / sigma) + (mu - m) ** 2 / (2 * s**2) - 0.5,
}
DIVISORS: dict[str, Callable[[float], float]] = {
    "β²": lambda b: b**2,
    "β": lambda b: b,
    "2β²": lambda b: 2 * b**2,
    "√β": np.sqrt,
    "1/β²": lambda b: b**-2.0,
}
FACTORS: dict[str, Callable[[float, float], float]] = {
    "1": lambda s, b: 1,
    "1/β": lambda s, b: 1 / b,
    "1/β²": lambda s, b: b**-2.0,
    "1/s": lambda s, b: 1 / s,
}
WEIGHTS = {"α": (0.7, 0.3), "α exchanged": (0.3, 0.7), "no α": (1.0, 1.0), "equal α": (0.5, 0.5)}
SCALES = {"β": (1.8, 1.2), "β exchanged": (1.2, 1.8)}


def newton_step_and_loss(slip, theta, h=1e-3):
    """|Newton's step| from θ, by differences, and the loss there, of eq. 15 with this slip."""
    energy, divisor, factor, weights, scales = slip
    grid = np.arange(-1, 2) * h
    mu, sigma = np.meshgrid(theta[0] + grid, theta[1] + grid, indexing="ij")
    total = sum(
        a * FACTORS[factor](s, b) * np.exp(-ENERGIES[energy](mu, sigma, m, s) / DIVISORS[divisor](b))
        for m, s, a, b in zip((20, -20), (30, 10), WEIGHTS[weights], SCALES[scales], strict=True)
    )
    loss = -np.log(total)
    gradient = np.array([loss[2, 1] - loss[0, 1], loss[1, 2] - loss[1, 0]]) / (2 * h)
    mixed = (loss[2, 2] - loss[2, 0] - loss[0, 2] + loss[0, 0]) / 4
    bends = loss[2, 1] + loss[0, 1] - 2 * loss[1, 1], loss[1, 2] + loss[1, 0] - 2 * loss[1, 1]
    hessian = np.array([[bends[0], mixed], [mixed, bends[1]]]) / h**2
    return float(np.abs(np.linalg.solve(hessian, gradient)).max()), float(loss[1, 1])


def test_of_all_the_slips_one_alone_explains_the_figure():
    explained = []
    for slip in product(ENERGIES, DIVISORS, FACTORS, WEIGHTS, SCALES):
        looks = [newton_step_and_loss(slip, np.array(printed[:2])) for printed in CAPTION.values()]
        steps, values = zip(*looks, strict=True)
        gaps = [abs(value - printed[2]) for value, printed in zip(values, CAPTION.values(), strict=True)]
        if max(steps) < 0.05 and max(gaps) < 0.05:  # ten times what rounding to two places explains
            explained.append(slip)
    assert explained == [("no half", "β²", "1", "α", "β")]


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"scales": (1.8, 0.0)}, "must be positive; pass e.g."),
        ({"stds": (-30, 10)}, "must be positive"),
        ({"weights": (math.nan, 0.3)}, "must be finite"),
        ({"offset": math.inf}, "must be finite"),
    ],
)
def test_constants_without_a_loss_are_an_error(bad, message):
    with pytest.raises(ValueError, match=message):
        ToyLoss(**bad)


def test_bad_requests_name_their_cure():
    with pytest.raises(ValueError, match="pass one of flat, sharp"):
        Instance("deep")
    for start in ((20.0, -30.0), (20.0, 0.0), (math.nan, 30.0)):
        with pytest.raises(ValueError, match="start nearer to one"):
            critical_point(OF_THE_FIGURE, start)
