"""Float32 against float64 for samples that are all but fitted, at every damping."""

import copy

import pytest
import torch
from torch import nn

import geosam
from geosam.metrics import EmpiricalFisher, Fisher, MonteCarlo, Relative
from tests.fishers import flat
from tests.networks import build, draw, labels, mlp
from tests.placement import device

FLOAT64 = torch.float64


@pytest.fixture(scope="module")
def fitted():
    """A network with losses from 1e-1 to 1e-9: in float32 some p_y are 1."""
    model, x, y = build(mlp), draw(12, 4), labels(12)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    losses = nn.functional.cross_entropy(copy.deepcopy(model).double()(x.double()), y, reduction="none")
    assert losses.min() < 1e-7 < 1e-4 < losses.max()
    return model, x, y


def direction(metric, model, x, y, dtype):
    bound = geosam.Problem(copy.deepcopy(model).to(dtype), nn.CrossEntropyLoss()).on(x.to(dtype), y)
    seen = geosam.observe(bound, metric.needs)
    return flat(metric.at(seen).sharp(seen.gradient))


@pytest.mark.parametrize("damping", [Relative(0.1), Relative(1e-3), Relative(1e-6), 1e-8])
@pytest.mark.parametrize("kind", [EmpiricalFisher, Fisher, "Monte Carlo"], ids=str)
def test_fitted_samples_keep_their_direction(kind, damping, fitted):
    def metric():
        drawn = MonteCarlo(1, torch.Generator(device()).manual_seed(0))
        return Fisher(damping, drawn) if kind == "Monte Carlo" else kind(damping)

    model, x, y = fitted
    found, true = (direction(metric(), model, x, y, dtype) for dtype in (torch.float32, FLOAT64))
    assert (found - true).norm() <= 1e-4 * true.norm()
