"""Which passes write to buffers, and what is left of them where a step is broken off."""

import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, passes
from geosam.optim import buffers, holders, statistics
from geosam.problem import places
from tests.networks import FEATURES, build, draw, labels, same

X, Y = draw(8, FEATURES), labels(8)
PASSES = {"first": (True, False), "both": (True, True), "second": (False, True)}


class Counter(nn.Module):
    """A user's own: one buffer written in place, one replaced, one that is constant."""

    calls: torch.Tensor
    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.ones(1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


def uncounted() -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(6)
    norm.num_batches_tracked = None
    return norm


class Rows(nn.Module):
    """InstanceNorm over six channels of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(6, track_running_stats=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.stack([x, 2 * x], 2)).sum(2) + x


KINDS = {
    "BatchNorm": lambda: nn.BatchNorm1d(6),
    "cumulative": lambda: nn.BatchNorm1d(6, momentum=None),
    "no counter": uncounted,
    "no weights": lambda: nn.BatchNorm1d(6, affine=False),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(6),
    "InstanceNorm": Rows,
    "user's": Counter,
}


def net(kind: str = "BatchNorm") -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 6), KINDS[kind](), nn.Tanh(), nn.Linear(6, 3))


def values(model: nn.Module) -> list[torch.Tensor]:
    return [b.clone() for b in model.buffers()]


def closure_of(model: nn.Module):
    def closure() -> torch.Tensor:
        model.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    return closure


def by_closure(opt, model):
    opt.step(closure_of(model))


def by_problem(opt, model):
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))


def by_perturb(opt, model, until="step"):
    opt.zero_grad()
    opt.perturb(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y), until=until)
    F.cross_entropy(model(X), Y).backward()
    opt.base.step()


def by_perturb_until_backward(opt, model):
    by_perturb(opt, model, "backward")


def by_perturbed(opt, model):
    with opt.perturbed(closure_of(model)):
        F.cross_entropy(model(X), Y).backward()
    opt.base.step()


def by_list(opt, model):
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    opt.step([problem.on(X[:4], Y[:4]), problem.on(X[4:], Y[4:])])


ROUTES = [by_closure, by_problem, by_perturb, by_perturb_until_backward, by_perturbed, by_list]


def expected(kind: str, which: str, batches: list[slice], steps: int = 2) -> list[torch.Tensor]:
    """By hand: a step that moves nothing, from forward passes at θ and at θ + ε alone."""
    model = build(lambda: net(kind))
    for _ in range(steps):
        with geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5, batchnorm="both").perturbed(
            frozen_closure(model)
        ):
            shifted = [p.detach().clone() for p in model.parameters()]
        plain = [p.detach().clone() for p in model.parameters()]
        for counts, at in zip(PASSES[which], (plain, shifted), strict=True):
            with torch.no_grad():
                for p, value in zip(model.parameters(), at, strict=True):
                    p.copy_(value)
                if counts:
                    for batch in batches:
                        model(X[batch])
        with torch.no_grad():
            for p, value in zip(model.parameters(), plain, strict=True):
                p.copy_(value)
    return values(model)


def frozen_closure(model: nn.Module):
    """Leaves the buffers as they are."""

    def closure() -> torch.Tensor:
        before = {(m, k): b for m in model.modules() for k, b in m._buffers.items() if b is not None}
        kept = {slot: b.clone() for slot, b in before.items()}
        loss = closure_of(model)()
        for (m, k), b in before.items():
            m._buffers[k] = b
            b.copy_(kept[m, k])
        return loss

    return closure


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.__name__)
def test_the_passes_that_count_are_those_asked_for(route, which):
    model = build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5, batchnorm=which)
    for _ in range(2):
        route(opt, model)
    halves = route is by_list
    wanted = expected("BatchNorm", which, [slice(0, 4), slice(4, 8)] if halves else [slice(0, 8)])
    if halves:  # its ε is that of half batches' own statistics
        assert model[1].num_batches_tracked == wanted[2]
    else:
        torch.testing.assert_close(values(model), wanted)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("route", [by_closure, by_problem], ids=lambda r: r.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_buffer(kind, route, which):
    model = build(lambda: net(kind))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5, batchnorm=which)
    for _ in range(2):
        route(opt, model)
    if kind == "user's":  # its gradient depends on the buffer
        assert model[1].calls == 2 * sum(PASSES[which])
    else:
        torch.testing.assert_close(values(model), expected(kind, which, [slice(0, 8)]))


@pytest.mark.parametrize(
    "metric", [metrics.KLExact(along=metrics.GradientMagnitude()), metrics.Fisher()], ids=lambda m: type(m).__name__
)
def test_solvers_and_products_write_nothing(metric):
    model = build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=0.1)
    for _ in range(2):
        by_problem(opt, model)
    assert model[1].num_batches_tracked == 2


@pytest.mark.parametrize("which", PASSES)
def test_further_passes_of_a_solver(which):
    model = build(net)
    solver = geosam.solvers.MultiStep(steps=3)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1, solver=solver, batchnorm=which)
    by_closure(opt, model)
    assert model[1].num_batches_tracked == {"first": 1, "both": 4, "second": 1}[which]


def test_the_only_pass_counts():
    model = build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), passes=passes.Momentum())
    for k in range(1, 4):
        by_problem(opt, model)
        assert model[1].num_batches_tracked == k
    still = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.0)
    by_closure(still, model)
    assert model[1].num_batches_tracked == 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", [1, 2])
def test_an_exception_leaves_all_of_them_as_they_were(kind, call):
    model, calls = build(lambda: net(kind)), []
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5)

    def closure() -> torch.Tensor:
        calls.append(None)
        loss = closure_of(model)()
        if len(calls) == call:
            raise KeyboardInterrupt
        return loss

    before, objects = values(model), [id(b) for b in model.buffers()]
    with pytest.raises(KeyboardInterrupt):
        opt.step(closure)
    assert same(values(model), before) and objects == [id(b) for b in model.buffers()]
    assert not torch.nn.modules.module._global_forward_pre_hooks


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
