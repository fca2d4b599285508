"""What an optimizer knows of the modules that its steps run: which write, where, and what is looked for again."""

import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics
from geosam.optim import buffers, holders, statistics
from geosam.problem import places
from tests.networks import build, draw, labels, same
from tests.optim.writing import (
    X,
    Y,
    by_closure,
    closure_of,
    net,
    values,
)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_module_that_others_own_is_seen_when_it_is_called(compiled, monkeypatch):
    """A generator's step through a critic whose parameters belong to another optimizer, also after something was compiled."""
    monkeypatch.setattr("geosam.optim.buffers.compiles", lambda: compiled)
    model, critic = build(net), nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 1))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))

    def closure() -> torch.Tensor:
        model.zero_grad()
        loss = critic(model(X)).mean()
        loss.backward()
        return loss

    for k in range(1, 3):
        opt.step(closure)
        assert model[1].num_batches_tracked == critic[1].num_batches_tracked == k


def test_a_loss_with_buffers():
    class Weighed(nn.Module):
        calls: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return F.cross_entropy(z, y)

    model, loss = build(net), Weighed()
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    opt.step(geosam.Problem(model, loss).on(X, Y))
    assert loss.calls == 1


def test_a_mode_and_a_module_that_begin_to_write_later():
    model = build(net).eval()
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    by_closure(opt, model)
    assert model[1].num_batches_tracked == 0
    norm: Any = model.train()[1]
    norm.momentum = 0.0
    norm.running_mean.fill_(0.5)
    by_closure(opt, model)
    norm.momentum = 0.1
    before = values(model)
    by_closure(opt, model)
    assert model[1].num_batches_tracked == 2 and not same(values(model), before)


def test_a_constant_table_is_copied_once():
    model = build(lambda: net("user's"))
    model.register_buffer("mask", torch.ones(64, 64))
    opt, sizes = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1)), []

    class Watched(statistics.Kept):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            sizes.append(sum(v.numel() for v in self.values))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "Kept", Watched)
        by_closure(opt, model)
        assert max(sizes) > 4096
        sizes.clear()
        by_closure(opt, model)
    assert sum(sizes) == 2 * 1007  # before the step and before the second pass: those of the module that is written to


@pytest.mark.parametrize("metric", [metrics.Euclidean(), metrics.EmpiricalFisher(0.1)], ids=repr)
def test_places_are_looked_for_where_something_else_lies_there(metric):
    model = build(net)
    problem = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True, check="first")
    opt, found = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric), []

    class Watched(places.Places):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            found.append(self)

    def step() -> None:
        by_closure(opt, model) if metric == metrics.Euclidean() else opt.step(problem.on(X, Y))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "Places", Watched)
        for _ in range(2):
            step()
        first = len(found)
        for _ in range(3):
            patch.setattr(places.Holder, "differences", None)  # too dear to be asked for in every step
            step()
        assert len(found) == first
        patch.undo()
        patch.setattr(places, "Places", Watched)
        model[1].running_mean = torch.ones_like(model[1].running_mean)
        step()
        assert len(found) > first and found[-1].tensors[0] is model[1].running_mean


def test_compiled_code_calls_no_module(monkeypatch):
    monkeypatch.setattr(buffers, "compiles", lambda: True)
    model = build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    assert set(holders.holders(list(model.parameters()))) == {model, model[0], model[1], model[3]}
    for k in range(1, 3):
        by_closure(opt, model)
        assert model[1].num_batches_tracked == k


def test_what_a_trainer_counts_in_its_own_pass_stays(monkeypatch):
    monkeypatch.setattr(buffers, "compiles", lambda: True)
    model = build(net)
    model.add_module("counter", nn.Module())
    model.counter.register_buffer("n", torch.zeros(()))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    for k in range(1, 4):
        opt.perturb(closure_of(model[:4]))
        closure_of(model[:4])()
        model.counter.n += 1
        opt.base.step()
        assert model.counter.n == k


def test_another_thread_trains_meanwhile():
    model, other = build(net), build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1))

    def closure() -> torch.Tensor:
        thread = threading.Thread(target=lambda: other(X))
        thread.start()
        thread.join()
        return closure_of(model)()

    opt.step(closure)
    assert model[1].num_batches_tracked == 1 and other[1].num_batches_tracked == 2


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="first, both, second"):
        geosam.SAM(torch.optim.SGD(build(net).parameters(), lr=0.1), batchnorm="never")


class HashedByState(nn.Linear):
    """Hashes by what it has counted, as torchmetrics' metrics do by their states."""

    def __init__(self):
        super().__init__(4, 3)
        self.count = torch.zeros(())

    def __hash__(self):
        return hash((super().__hash__(), self.count.item()))

    def forward(self, x):
        self.count = self.count + 1
        return super().forward(x)


@pytest.mark.parametrize("which, passes", [("first", 1), ("second", 1), ("both", 2)])
def test_a_module_that_hashes_by_its_state(which, passes):
    model = HashedByState()
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), batchnorm=which)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    for k in range(1, 4):
        opt.step(bound)
        assert model.count == k * passes


@pytest.mark.parametrize("where", ["first", "both", "second"])
def test_a_frozen_scale_beside_running_statistics_stays_what_rows_are_formed_of(where):
    """What the first pass wrote comes back before they are formed, and the scale, which it did not write, with it."""
    ends = []
    for fixed in (True, False):
        model = build(
            lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)), dtype=torch.float64
        )
        ones = nn.Parameter(torch.ones(6, dtype=torch.float64), requires_grad=False)
        model[1].register_parameter("weight", ones if fixed else None)
        problem = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True, check="first")
        learnt = [p for p in model.parameters() if p.requires_grad]
        opt = geosam.SAM(torch.optim.SGD(learnt, lr=0.1), metrics.EmpiricalFisher(0.1), 0.2, batchnorm=where)
        for _ in range(4):
            opt.step(problem.on(X.double(), Y))
        ends.append([p.detach() for p in learnt] + [b.clone() for b in model.buffers()])
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-14)
