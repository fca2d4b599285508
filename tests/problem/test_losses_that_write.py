"""A loss that writes into outputs or targets gives what the same loss without it gives."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import engines, metrics
from tests.networks import draw, labels

X, Y = draw(5, 3, dtype=torch.float64), labels(5)


def hotter(z):
    return torch.distributions.Categorical(logits=2 * z)


def writes(z, y):
    return F.cross_entropy(z.mul_(2), y.sub_(1))


def leaves(z, y):
    return F.cross_entropy(2 * z, y - 1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3, dtype=torch.float64), nn.Tanh(), nn.Linear(3, 3, dtype=torch.float64))


METRICS = [
    metrics.EmpiricalFisher(),
    metrics.DiagonalEmpiricalFisher(engine=engines.Func()),
    metrics.KLExact(),
    metrics.Fisher(),
    metrics.Fisher(rows_limit=0),
    metrics.KroneckerFisher(sampling=metrics.Empirical()),
]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_geometries_are_those_of_the_loss_that_leaves_what_it_is_given(metric):
    found = []
    for loss in (writes, leaves):
        bound = geosam.Problem(network(), loss, hotter).on(X, Y + 1)
        for _ in range(2):  # the first call looks whether it writes
            seen = geosam.observe(bound, metric.needs)
        found.append(geosam.solve(metric.at(seen), seen.gradient, 0.1).epsilon)
    torch.testing.assert_close(*found)


def test_both_passes_of_a_step_have_the_same_targets():
    found = []
    for loss in (writes, leaves):
        model, y = network(), Y + 1
        opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=1.0), rho=0.1)
        for _ in range(2):
            opt.step(geosam.Problem(model, loss).on(X, y))
        found.append([*model.parameters()])
        assert torch.equal(y, Y + 1)
    torch.testing.assert_close(*found)


def test_a_loss_that_writes_nothing_is_given_no_copies_after_its_first_call():
    seen = []

    def loss(z, y):
        seen.append(y)
        return F.cross_entropy(z, y)

    bound = geosam.Problem(network(), loss).on(X, Y)
    for _ in range(3):
        bound()
    assert [y is Y for y in seen] == [False, True, True]
