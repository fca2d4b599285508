"""One step of each vectorised method is one step of geosam's own SAM with the corresponding metric."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

import geosam
from experiments.toy.banana import Banana
from geosam.metrics import Euclidean, Fisher, KLExact, Monge, ParameterScaled
from theory.toy_dynamics import METHODS, iterates
from theory.toy_loss import OF_THE_FIGURE

FISHER = Fisher(damping=0.0, tolerance=1e-12)
METRICS = {
    "SAM": Euclidean(),
    "ASAM": ParameterScaled(eta=0.0, where=lambda name, parameter: True),
    "FSAM": FISHER,
    "Monge": Monge(),
}


class Gaussian(torch.nn.Module):
    """A model whose output is its one parameter θ = (μ, σ), whatever the input."""

    def __init__(self, theta):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.from_numpy(np.array(theta, float)))

    def forward(self, x):
        return self.theta.expand(len(x), 2)


def normal(outputs):
    return Normal(outputs[:, 0], outputs[:, 1])


def toy(outputs, y):
    """Eq. 15 in torch, with the figure's energies."""
    here, logs = normal(outputs), []
    loss = OF_THE_FIGURE
    for m, s, a, b in zip(loss.means, loss.stds, loss.weights, loss.scales, strict=True):
        there = Normal(outputs.new_tensor(float(m)), outputs.new_tensor(float(s)))
        logs.append(math.log(a) - (torch.distributions.kl_divergence(here, there) + loss.offset) / b**2)
    return -torch.logsumexp(torch.stack(logs), 0).mean()


def banana(outputs, y):
    return ((1 - outputs[:, 0] * outputs[:, 1]) ** 2).mean()


def step(loss, metric, theta, lr, rho):
    """(θ + ε*, θ after the step) of geosam's SAM, or θ after plain SGD's for metric None."""
    model = Gaussian(theta)
    problem = geosam.Problem(model, loss, likelihood=normal).on(torch.zeros(1, 1), torch.zeros(1, 1))
    base = torch.optim.SGD(model.parameters(), lr=lr)
    if metric is None:
        problem()
        base.step()
        return theta, model.theta.detach().numpy()
    optimizer = geosam.SAM(base, metric=metric, rho=rho)
    with optimizer.perturbed(problem):
        probe = model.theta.detach().numpy().copy()
    optimizer.step(problem)
    return probe, model.theta.detach().numpy()


def ours(loss, name, theta, lr, rho):
    run = iterates(loss, METHODS[name], np.array(theta, float)[:, None], np.array([lr]), np.array([rho]))
    first, second = next(run), next(run)
    assert second.alive.all() or not loss.inside(second.probe).all()
    return first.probe[:, 0], second.theta[:, 0]


STARTS = st.tuples(st.floats(-40, 40), st.floats(15, 60))


@pytest.mark.parametrize("name", ["GD", *METRICS])
@settings(deadline=None)
@example(start=(0.0, 15.0), lr=1.0, rho=1.0)
@given(start=STARTS, lr=st.floats(1, 200), rho=st.floats(0.01, 1.3))
def test_on_the_toy_loss(name, start, lr, rho):
    probe, after = ours(OF_THE_FIGURE, name, start, lr, rho)
    assume(probe[1] > 1e-6)  # ASAM's ball of ρ ≥ 1 reaches σ = 0, where the loss is not defined
    expected = step(toy, METRICS.get(name), start, lr, rho)
    assert probe == pytest.approx(expected[0], rel=1e-6, abs=1e-6)
    assert after == pytest.approx(expected[1], rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(start=STARTS, rho=st.floats(0.05, 1.3))
def test_the_kl_ball_to_the_one_per_cent_that_geosam_promises(start, rho):
    probe, _ = ours(OF_THE_FIGURE, "KL", start, 1.0, rho)
    expected, _ = step(toy, KLExact(along=FISHER), start, 1.0, rho)
    assert probe - start == pytest.approx(expected - start, rel=1.1e-2, abs=1e-6)


@pytest.mark.parametrize("name", ["GD", "SAM", "Monge"])
@settings(deadline=None)
@given(start=st.tuples(st.floats(-2, 2), st.floats(0.1, 2)), rho=st.floats(0.01, 1))
def test_on_the_banana(name, start, rho):
    probe, after = ours(Banana(), name, start, 0.01, rho)
    expected = step(banana, METRICS.get(name), start, 0.01, rho)
    assert probe == pytest.approx(expected[0], rel=1e-9, abs=1e-9)
    assert after == pytest.approx(expected[1], rel=1e-9, abs=1e-9)
