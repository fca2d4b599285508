"""What a trainer does around step that would leave out passes."""

import gc
import sys
import weakref
from collections import OrderedDict, defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch import nn
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


class Halfway(Lookahead):
    """Reads parameters before the step inside, as TRAC and schedule-free wrappers do, and nests its state, as Lookahead may."""

    def step(self, closure=None):
        before = [p.detach().clone() for p in self.param_groups[0]["params"]]
        loss = self.inner.step(closure)
        with torch.no_grad():
            for p, value in zip(self.param_groups[0]["params"], before, strict=True):
                p.lerp_(value, 0.5)
        return loss

    def state_dict(self):
        return {"inside": self.inner.state_dict()}

    def load_state_dict(self, state_dict):
        self.inner.load_state_dict(state_dict["inside"])
        self.param_groups, self.state = self.inner.param_groups, self.inner.state


class Averaging(Halfway):
    """As torch's PostLocalSGDOptimizer, which has no defaults either."""

    def __init__(self, inner):
        super().__init__(inner)
        del self.defaults


class Bare(torch.optim.SGD):
    """Steps by itself, and leaves out torch's constructor."""

    def __init__(self, parameters):
        self.param_groups, self.defaults, self.state = [{"params": list(parameters)}], {}, defaultdict(dict)

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p -= 0.1 * p.grad


@pytest.mark.parametrize("max_norm", [None, 0.01])
@pytest.mark.parametrize("kind", [Lookahead, Accumulating, Averaging, Bare])
def test_perturb_ends_before_anybody_reads_the_parameters(kind, max_norm):
    model, twin = build(mlp), build(mlp)
    base = kind(model.parameters() if kind is Bare else torch.optim.SGD(model.parameters(), lr=0.1))
    opt = geosam.SAM(base, rho=0.1, max_norm=max_norm)
    lr = 0.05 if kind is Averaging else 0.1
    geosam.SAM(torch.optim.SGD(twin.parameters(), lr=lr), rho=0.1, max_norm=max_norm).step(Closure(twin, X, Y))
    parts = 2 if kind is Accumulating else 1
    for _ in range(parts):
        opt.perturb(Closure(model, X, Y))
        (F.cross_entropy(model(X), Y) / parts).backward()
        base.step()
    assert opt.steps == 1
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()))


def test_a_wrapper_may_read_the_parameters_before_a_closure_that_is_the_second_pass():
    model, twin = build(mlp), build(mlp)
    base = Halfway(torch.optim.SGD(model.parameters(), lr=0.1))
    opt = geosam.SAM(base, rho=0.1)
    geosam.SAM(torch.optim.SGD(twin.parameters(), lr=0.05), rho=0.1).step(Closure(twin, X, Y))
    opt.perturb(Closure(model, X, Y))
    base.step(Closure(model, X, Y))
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()))
    leaves_out = geosam.SAM(Accumulating(torch.optim.SGD(model.parameters(), lr=0.1)))
    leaves_out.perturb(Closure(model, X, Y))
    with pytest.raises(RuntimeError, match=r"left out the closure.*without a closure"):
        leaves_out.base.step(Closure(model, X, Y))


def test_hooks_on_one_optimizer_leave_others_of_its_class_alone():
    model, twin = build(mlp), build(mlp)
    opt, alone = geosam.SAM(Bare(model.parameters())), Bare(twin.parameters())
    opt.perturb(Closure(model, X, Y))
    Closure(model, X, Y)()
    opt.base.step()
    Closure(twin, X, Y)()
    alone.step()


def test_a_wrapper_may_keep_its_groups_state_elsewhere():
    model = build(mlp)
    opt, other = (
        geosam.SAM(Halfway(torch.optim.SGD(build(mlp).parameters() if k else model.parameters(), lr=0.1)), rho=rho)
        for k, rho in enumerate([geosam.schedules.Linear(0.1, 0.0, 4), 0.7])
    )
    opt.step(Closure(model, X, Y))
    saved = opt.state_dict()
    assert saved["inside"]["param_groups"][0]["rho"] == pytest.approx(0.075)
    other.load_state_dict(saved)
    assert other.rho == pytest.approx(0.075) and other.steps == 1


@pytest.mark.parametrize("wrap", [lambda base: base, Lookahead])
def test_hooks_hold_no_batch(wrap):
    model = build(mlp)
    opt, x = geosam.SAM(wrap(torch.optim.SGD(model.parameters(), lr=0.1))), X.clone()
    opt.perturb(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, Y))
    Closure(model, X, Y)()
    opt.base.step()
    batch = weakref.ref(x)
    del x
    gc.collect()
    assert batch() is None and opt.steps == 1
