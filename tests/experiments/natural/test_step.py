"""m-sharpness, by hand: each part's own ε, and the mean of the gradients there."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from experiments.natural.presets import EACH, NATURAL_SGD, rows
from experiments.natural.step import InParts, in_parts
from geosam.metrics import EmpiricalFisher, Euclidean
from tests.networks import build, draw, labels, mlp

X, Y, RHO = draw(10, 4, dtype=torch.float64), labels(10), 0.3


def gradient(model, x, y):
    return torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))


@pytest.mark.parametrize("metric", [Euclidean(), EmpiricalFisher(0.1)], ids=["Euclidean", "EmpiricalFisher"])
def test_each_part_has_an_epsilon_of_its_own(metric):
    model, twin = build(mlp, dtype=torch.float64), build(mlp, dtype=torch.float64)
    problem, by_hand = (geosam.Problem(m, nn.CrossEntropyLoss()) for m in (model, twin))
    step = in_parts(geosam.SAM(torch.optim.SGD(model.parameters(), lr=1.0), InParts(metric, 2), RHO), problem)
    total = [torch.zeros_like(p) for p in twin.parameters()]
    for part in (slice(0, 5), slice(5, 10)):
        epsilon = geosam.solve(metric.at(by_hand.on(X[part], Y[part])), gradient(twin, X[part], Y[part]), RHO).epsilon
        with torch.no_grad():
            for p, e in zip(twin.parameters(), epsilon, strict=True):
                p.add_(e)
        for t, g in zip(total, gradient(twin, X[part], Y[part]), strict=True):
            t.add_(g / 2)
        with torch.no_grad():
            for p, e in zip(twin.parameters(), epsilon, strict=True):
                p.sub_(e)
    before = [p.detach().clone() for p in model.parameters()]
    loss = step(X, Y)
    for p, b, t in zip(model.parameters(), before, total, strict=True):
        torch.testing.assert_close(p, b - t, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(loss, F.cross_entropy(twin(X), Y))


def test_the_other_rows_take_ordinary_steps_and_natural_sgd_one_gradient_each():
    assert isinstance(rows()[EACH].metric, InParts) and rows()[NATURAL_SGD].passes == 1
    model, twin = build(mlp, dtype=torch.float64), build(mlp, dtype=torch.float64)
    for m, step in ((model, in_parts), (twin, None)):
        problem, opt = geosam.Problem(m, nn.CrossEntropyLoss()), geosam.SAM(torch.optim.SGD(m.parameters(), lr=1.0))
        (step(opt, problem) if step else lambda x, y, o=opt, p=problem: o.step(p.on(x, y)))(X, Y)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
