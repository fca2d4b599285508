"""Training steps and models under torch.compile, in whole and in parts, and TorchScript: the same numbers as without."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import geosam
from geosam import metrics
from tests.networks import build

X, Y = torch.linspace(-2, 2, 30).reshape(6, 5).sin(), torch.arange(6) % 3
PLAIN = build(lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)))
NORMALISED = build(lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)))


class Training:
    """Three steps by one of the routes: what they leave."""

    def __init__(self, model, metric, net=None, frozen=False):
        self.model, self.net = model, model if net is None else net
        self.opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.05)
        self.bound = geosam.Problem(self.net, nn.CrossEntropyLoss(), frozen_statistics=frozen).on(X, Y)

    def backward(self):
        self.opt.zero_grad()
        loss = nn.functional.cross_entropy(self.net(X), Y)
        loss.backward()
        return loss

    def closure(self):
        return 2 * self.opt.step(self.backward)

    def problem(self):
        return 2 * self.opt.step(self.bound)

    def perturb(self):
        self.opt.perturb(self.bound)
        self.backward()
        self.opt.base.step()

    def three(self, step):
        for _ in range(3):
            step()
        return [t.detach().clone() for t in (*self.model.parameters(), *self.model.buffers())]


def same(found, right, to=0.0):
    return all(torch.allclose(a, b, rtol=to, atol=to) for a, b in zip(found, right, strict=True))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's, at a break
@pytest.mark.parametrize(
    "route, metric",
    [("closure", metrics.Euclidean()), ("problem", metrics.EmpiricalFisher()), ("perturb", metrics.KLExact())],
    ids=str,
)
def test_a_whole_training_step(route, metric):
    torch._dynamo.reset()
    counter, found, right = CompileCounter(), *(Training(copy.deepcopy(PLAIN), metric) for _ in range(2))
    assert same(found.three(torch.compile(getattr(found, route), backend=counter)), right.three(getattr(right, route)))
    assert counter.frame_count


@pytest.mark.parametrize(
    "metric, start, whole",
    [
        (metrics.EmpiricalFisher(), NORMALISED, True),
        (metrics.KLExact(), NORMALISED, False),
        (metrics.KroneckerFisher(0.1, rest=metrics.Euclidean()), PLAIN, False),
    ],
    ids=["EmpiricalFisher, torch.compile(model)", "KLExact, model.compile()", "KroneckerFisher, model.compile()"],
)
def test_a_model_compiled_before_it_had_our_hooks(metric, start, whole):
    torch._dynamo.reset()
    model, frozen = copy.deepcopy(start), start is NORMALISED
    net = torch.compile(model, backend=CompileCounter()) if whole else model
    if not whole:
        model.compile(backend=CompileCounter())
    found, right = Training(model, metric, net, frozen), Training(copy.deepcopy(start), metric, frozen=frozen)
    for each in found.net, right.net:
        each(X)
    assert same(found.three(found.problem), right.three(right.problem))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*deprecated")
def test_torchscript_where_only_gradients_are_read():
    for route in "closure", "problem":
        models = torch.jit.script(copy.deepcopy(NORMALISED)), copy.deepcopy(NORMALISED)
        found, right = (Training(each, metrics.Euclidean()) for each in models)
        assert same(found.three(getattr(found, route)), right.three(getattr(right, route)), to=1e-6)
    with pytest.raises(ValueError, match=r"compiled by torch\.jit"):
        metrics.EmpiricalFisher().at(found.bound)
