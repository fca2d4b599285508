"""Gradients, rows, Fisher matrix and KL of every model, against torch."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import hessian, jacobian
from torch.distributions import Normal, kl_divergence

from theory.invariance.table import COLUMNS, instance
from theory.invariance.transformations import gaussian

SEEDS = st.integers(0, 2**32 - 1)


def in_torch(case):
    """The column's model, in torch's own words: θ ↦ (m, σ) of every sample."""
    x = torch.from_numpy(case.inputs)
    if case.kind.model is gaussian:
        return lambda theta: (theta[0].expand(len(x)), theta[1].expand(len(x)))
    sizes = [int(np.prod(shape)) for shape in case.shapes]

    def outputs(theta):
        parts = [part.reshape(shape) for part, shape in zip(theta.split(sizes), case.shapes, strict=True)]
        if case.column == "node-wise":
            mean = torch.relu(torch.nn.functional.linear(x, parts[0], parts[1])) @ parts[2].T + parts[3]
        elif case.column == "BatchNorm":
            before = torch.nn.functional.batch_norm(x @ parts[0].T, None, None, training=True, eps=1e-30)
            mean = torch.tanh(before) @ parts[1].T + parts[2]
        else:
            mean = torch.tanh(torch.nn.functional.linear(x, parts[0], parts[1]))
        return mean[:, 0], torch.ones(len(x), dtype=torch.float64)

    return outputs


MAPS = {
    "log σ": lambda phi: torch.stack([phi[0], phi[1].exp()]),
    "natural": lambda phi: torch.stack([-phi[0] / phi[1] / 2, (-2 * phi[1]) ** -0.5]),
    "mean": lambda phi: torch.stack([phi[0], (phi[1] - phi[0].square()).sqrt()]),
}


def sides(case):
    """(Side, the same model in torch) at θ and at φ."""
    model, matrix = in_torch(case), torch.from_numpy(case.derivative)
    yield case.old, model
    if case.column in MAPS:
        yield case.new, lambda phi: model(MAPS[case.column](phi))
    elif case.column == "smooth":
        m = torch.from_numpy(case.numbers).reshape(len(case.phi), -1)
        scale = torch.linalg.matrix_norm(m, 2).clamp_min(1.0)
        yield case.new, lambda phi: model(phi + 0.5 * torch.sin(m @ phi) / scale)
    else:
        yield case.new, model if case.kind.symmetry else lambda phi: model(matrix @ phi)


@settings(deadline=None)
@given(SEEDS, st.sampled_from(COLUMNS))
def test_gradients_rows_and_fisher_are_those_of_torch(seed, column):
    for side, model in sides(instance(seed).cases[COLUMNS.index(column)]):
        theta, y = torch.from_numpy(side.theta), torch.from_numpy(side.targets)
        m, sigma = model(theta)
        assert np.allclose(side.here, torch.cat([m, sigma.log()]).numpy(), rtol=1e-9, atol=1e-9)
        losses = jacobian(lambda t, model=model, y=y: -Normal(*model(t)).log_prob(y), theta).numpy()
        scale = abs(losses).max()
        assert np.allclose(side.rows, losses, rtol=1e-8, atol=1e-10 * scale)
        assert np.allclose(side.gradient, losses.mean(0), rtol=1e-8, atol=1e-10 * scale)
        here = Normal(m, sigma)

        def kl(t, model=model, here=here):
            return kl_divergence(Normal(*model(t)), here).mean()

        fisher = hessian(kl, theta).numpy()
        assert np.allclose(side.white.T @ side.white / len(y), fisher, rtol=1e-7, atol=1e-9 * abs(fisher).max())
        there = theta + 0.01 * torch.cos(torch.arange(len(theta)))
        assert np.isclose(side.kl(there.numpy()), kl(there).item(), rtol=1e-6, atol=1e-14)
