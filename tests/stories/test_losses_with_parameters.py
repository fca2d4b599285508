"""Losses that own parameters, or read the model's: ``.grad`` after a step, and after a look."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, Fisher, GradientMagnitude, KLExact
from geosam.problem.likelihoods import categorical
from tests.networks import build, draw, labels, mlp

X, Y = draw(6, 4, dtype=torch.float64), labels(6)

METRICS = [Euclidean(), EmpiricalFisher(), DiagonalEmpiricalFisher(0.1), Fisher(), Fisher(rows_limit=0)]
METRICS += [KLExact(along=GradientMagnitude()), KLExact()]


class Scaled(nn.Module):
    """Cross-entropy at a temperature that is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.scale.exp() * outputs, y)


def step(metric, problem) -> nn.Module:
    """Takes a step; a copy of the model at θ + ε."""
    optimizer = geosam.SAM(torch.optim.SGD(problem.model.parameters(), lr=0.0), metric, rho=0.5)
    with optimizer.perturbed(problem.on(X, Y)):
        there = copy.deepcopy(problem.model)
    optimizer.step(problem.on(X, Y))
    return there


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_the_gradient_of_the_loss_s_own_parameters_is_that_at_theta_plus_epsilon(metric, closed):
    own = Scaled()
    loss = (lambda z, y: own(z, y)) if closed else own
    problem = geosam.Problem(build(mlp, dtype=torch.float64), loss, categorical)
    there = step(metric, problem)
    torch.testing.assert_close(own.scale.grad, torch.autograd.grad(own(there(X), Y), own.scale)[0])
    own.scale.grad = None
    metric.at(problem.on(X, Y))
    assert own.scale.grad is None


@pytest.mark.parametrize("metric", [Euclidean(), KLExact(along=Euclidean())], ids=repr)
def test_a_penalty_is_in_the_gradient_at_theta_plus_epsilon(metric):
    model = build(mlp, dtype=torch.float64)
    reads = [model]

    def loss(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z, y) + sum(p.square().sum() for p in reads[0].parameters())

    problem = geosam.Problem(model, loss, categorical)
    there = step(metric, problem)
    reads[0] = there
    expected = torch.autograd.grad(loss(there(X), Y), list(there.parameters()))
    torch.testing.assert_close([p.grad for p in model.parameters()], list(expected))


def test_rows_of_a_penalised_loss_are_refused_by_the_true_cause():
    model = build(mlp, dtype=torch.float64)
    problem = geosam.Problem(model, lambda z, y: F.cross_entropy(z, y) + sum(p.square().sum() for p in model.parameters()))
    for metric in (EmpiricalFisher(), DiagonalEmpiricalFisher(0.1)):
        with pytest.raises(ValueError, match=r"reads parameters itself.*weight_decay"):
            metric.at(problem.on(X, Y))


def test_looks_leave_no_gradient():
    own = Scaled()
    bound = geosam.Problem(build(mlp, dtype=torch.float64), lambda z, y: own(z, y), categorical).on(X, Y)
    geosam.compare(bound, [Euclidean(), EmpiricalFisher()], rho=0.1)
    geosam.calibrate(bound, Euclidean(), geosam.Rise(0.01))
    geosam.sharpness(bound, Euclidean(), 0.1, samples=2, steps=2, iterations=2)
    assert own.scale.grad is None and all(p.grad is None for p in bound.model.parameters())
