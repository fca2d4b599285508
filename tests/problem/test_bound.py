"""A bound problem: a closure that caches nothing, of the inputs and the parameters that were chosen."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam.metrics import EmpiricalFisher
from tests.fishers import rows_of
from tests.networks import build, draw, labels, mlp

X, Y = draw(6, 4), labels(6)


def bind(model: nn.Module) -> geosam.problem.Bound:
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)


def test_a_bound_problem_is_a_closure():
    model, twin = build(mlp), build(mlp)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        loss = bind(model)()
    expected = F.cross_entropy(twin(X), Y)
    expected.backward()
    assert torch.equal(loss, expected.detach()) and not loss.requires_grad
    torch.testing.assert_close([p.grad for p in model.parameters()], [p.grad for p in twin.parameters()], rtol=0, atol=0)


def test_inputs_may_be_a_tuple_or_keywords():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.head(a - b)

    model = build(Sum)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    a, b = draw(6, 4, seed=5), draw(6, 4, seed=6)
    for x in ((a, b), [a, b], {"b": b, "a": a}):
        seen = geosam.observe(problem.on(x, Y), EmpiricalFisher(0.1).needs)
        torch.testing.assert_close(seen.loss, F.cross_entropy(model(a, b), Y).detach())
        assert rows_of(seen).n == 6


def test_parameters_are_those_chosen_in_their_order():
    model = build(mlp)
    bound = bind(model)
    model[0].weight.requires_grad_(False)
    assert bound.names(bound.parameters) == ["0.bias", "2.weight", "2.bias"]
    chosen = [model[2].bias, model[0].bias]
    seen = geosam.observe(bound.wrt(chosen), EmpiricalFisher(0.1).needs)
    assert seen.names == ["2.bias", "0.bias"]
    expected = torch.autograd.grad(F.cross_entropy(model(X), Y), chosen)
    for found, right in zip(seen.gradient, expected, strict=True):
        torch.testing.assert_close(found, right)


@pytest.mark.parametrize(
    "metric", [geosam.metrics.EmpiricalFisher(), geosam.metrics.KLExact(), geosam.metrics.Fisher(0.1)], ids=repr
)
def test_a_module_registered_twice_keeps_its_parameters(metric):
    shared = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(4, 3)).eval()
    weight, statistics = shared[0].weight, shared[1].running_mean
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
    before = weight.detach().clone()
    for _ in range(2):
        opt.step(bound)
    assert shared[0].weight is weight and shared[1].running_mean is statistics
    assert not torch.equal(weight, before)
