"""The forward pass by which KL was met serves as the second pass's, where nobody could tell."""

import gc

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.core import Landing
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, Fisher, GradientMagnitude, KLExact
from geosam.optim import landing
from geosam.optim.routes import problem as route
from geosam.optim.step import Step
from tests.networks import batch_norm_net, build, draw, dropout_net, labels, mlp, network

ALONG = [Euclidean(), GradientMagnitude(), DiagonalEmpiricalFisher(0.1), EmpiricalFisher(0.1)]


def taken(model, x, y, along, monkeypatch, lands):
    """(gradients, parameters, how often a landing was used) after three steps."""
    used = []

    def arrive(*at):
        used.append(1)
        return landing.arrive(*at)

    with monkeypatch.context() as patched:
        patched.setattr(route, "arrive", arrive)
        patched.setattr(route, "lands", lambda *at: lands and landing.lands(*at))
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), KLExact(along=along), rho=0.1)
        problem = geosam.Problem(model, nn.CrossEntropyLoss())
        for _ in range(3):
            opt.step(problem.on(x, y))
    return [p.grad for p in model.parameters()], list(model.parameters()), len(used)


CASES = [
    *(("mlp", along) for along in ALONG),
    *zip(["residual, GroupNorm", "transformer", "tied", "lstm", "embedding"], [*ALONG, ALONG[-1]], strict=True),
]


@pytest.mark.parametrize("name, along", CASES, ids=repr)
def test_the_step_is_the_one_that_a_second_forward_pass_gives(name, along, monkeypatch):
    found = [taken(*network(name, dtype=torch.float64), along, monkeypatch, lands) for lands in (True, False)]
    assert [used for _, _, used in found] == [3, 0]
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)


def hooked():
    model = mlp()
    next(model.parameters()).register_hook(lambda g: 2 * g)
    return model


@pytest.mark.parametrize("make", [dropout_net, batch_norm_net, hooked], ids=lambda f: f.__name__)
def test_what_could_tell_gets_its_own_pass(make, monkeypatch):
    model = build(make)
    assert taken(model, draw(6, 4), labels(6), GradientMagnitude(), monkeypatch, True)[2] == 0


def test_a_parameter_of_no_optimizer_gets_its_gradient_too():
    model = build(mlp)
    held = list(model.parameters())[1:]
    opt = SAM(torch.optim.SGD(held, lr=0.1), KLExact(along=Euclidean()))
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
    assert all(p.grad is not None for p in model.parameters())


def held():
    """Of what lives as long as a step, whatever is alive; by exact type, because asking some objects of torch warns."""
    return {id(o) for o in gc.get_objects() if type(o) in (Landing, Step)}


def test_no_graph_outlives_the_step():
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), KLExact(along=Euclidean()))
    known = held()
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
    assert not opt.last.loss.requires_grad
    assert all(p.grad is not None and p.grad.grad_fn is None for p in model.parameters())
    gc.collect()
    assert held() <= known


@pytest.mark.parametrize("metric", [KLExact(EmpiricalFisher()), Fisher(), KLExact(GradientMagnitude())], ids=repr)
def test_what_a_pass_made_is_freed_without_the_garbage_collector(metric):
    """A reference cycle would keep rows and graphs alive until a collection, through the second pass and beyond."""
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    opt.step(bound)
    gc.collect()
    known = {id(o) for o in gc.get_objects() if type(o).__name__ in ("Look", "Predictive", "Observation", "Step")}
    gc.disable()
    try:
        opt.step(bound)
        left = [o for o in gc.get_objects() if type(o).__name__ in ("Look", "Predictive", "Observation", "Step")]
        assert {id(o) for o in left} <= known
    finally:
        gc.enable()


class Summed(nn.Module):
    """One gradient arrives at two parameters, and one that is expanded at a third."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.p, self.q = mlp(), nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
        self.r = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.net(x) + (self.p + self.q) + self.r.sum()


def test_each_parameter_gets_a_gradient_of_its_own(monkeypatch):
    model, x, y = build(Summed), draw(6, 4), labels(6)
    gradients, _, used = taken(model, x, y, GradientMagnitude(), monkeypatch, True)
    assert used == 3 and len({g.untyped_storage().data_ptr() for g in gradients}) == len(gradients)
    assert all(g.is_contiguous() for g in gradients)
