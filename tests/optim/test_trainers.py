"""What a trainer does around step that would leave out passes."""

import sys
from collections import OrderedDict, defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

import geosam
from tests.networks import Closure, build, draw, labels, mlp

X, Y = draw(6, 4), labels(6)


@pytest.mark.parametrize("steps", [1, 2])
def test_accelerates_accumulation_is_refused_with_the_cure(monkeypatch, steps):
    stub = SimpleNamespace(GradientState=lambda: SimpleNamespace(num_steps=steps))
    monkeypatch.setitem(sys.modules, "accelerate.state", stub)
    model = build(mlp)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    if steps == 1:
        assert opt.step(Closure(model, X, Y)) > 0
        return
    with pytest.raises(RuntimeError, match=r"over 2 micro-batches.*opt\.perturb\(problem\.on\(x, y\)\)"):
        opt.step(Closure(model, X, Y))
    opt.perturb(Closure(model, X, Y))  # which is the cure
    Closure(model, X, Y)()
    assert opt.step() is not None


class Lookahead(torch.optim.Optimizer):
    """As timm's, which leaves out torch's constructor and with it the hooks of its own step."""

    def __init__(self, inner):
        self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks = OrderedDict(), OrderedDict()
        self.inner, self.param_groups, self.defaults, self.state = inner, inner.param_groups, inner.defaults, inner.state

    def step(self, closure=None):
        return self.inner.step(closure)


class Accumulating(Lookahead):
    """As Accelerate's, which also leaves out steps."""

    def __init__(self, inner):
        super().__init__(inner)
        self.calls = 0

    def step(self, closure=None):
        self.calls += 1
        return self.inner.step(closure) if self.calls % 2 == 0 else None


class Bare(torch.optim.SGD):
    """Steps by itself, and leaves out torch's constructor."""

    def __init__(self, parameters):
        self.param_groups, self.defaults, self.state = [{"params": list(parameters)}], {}, defaultdict(dict)

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p -= 0.1 * p.grad


@pytest.mark.parametrize("kind", [Lookahead, Accumulating, Bare])
def test_perturb_ends_where_the_parameters_are_moved(kind):
    model, twin = build(mlp), build(mlp)
    base = kind(model.parameters() if kind is Bare else torch.optim.SGD(model.parameters(), lr=0.1))
    opt = geosam.SAM(base, rho=0.1)
    geosam.SAM(torch.optim.SGD(twin.parameters(), lr=0.1), rho=0.1).step(Closure(twin, X, Y))
    parts = 2 if kind is Accumulating else 1
    for _ in range(parts):
        opt.perturb(Closure(model, X, Y))
        (F.cross_entropy(model(X), Y) / parts).backward()
        base.step()
    assert opt.steps == 1
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()))
