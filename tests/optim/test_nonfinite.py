"""NaN and infinity: a bad first pass costs the perturbation, a bad second pass costs the update, and no weight is harmed."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import SAM, Copy, Swap
from geosam.metrics import (
    DiagonalEmpiricalFisher,
    EmpiricalFisher,
    Euclidean,
    Fisher,
    GradientMagnitude,
    KLExact,
    Monge,
    ParameterScaled,
)
from geosam.norms import Diagonal
from geosam.objectives import Smoothed
from geosam.optim import Standstill, Unperturbed
from tests.networks import Closure, Unruly, build, clones, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)
BAD = [math.nan, math.inf, -math.inf]
Act = Callable[[Unruly, Tensor], Tensor | None]


def bad_loss(value: float) -> Act:
    return lambda closure, loss: loss.detach() + value


def bad_gradient(value: float, everywhere: bool = False) -> Act:
    def act(closure: Unruly, loss: Tensor) -> None:
        for p in closure.model.parameters() if everywhere else [closure.model[0].bias]:
            p.grad.reshape(-1)[0] = value

    return act


def both(value: float) -> Act:
    def act(closure: Unruly, loss: Tensor) -> Tensor:
        bad_gradient(value, everywhere=True)(closure, loss)
        return loss.detach() + value

    return act


KINDS = {"loss": bad_loss, "one gradient": bad_gradient, "loss and gradients": both}


def model_and_opt(base: str = "SGD", **settings: object) -> tuple[nn.Module, SAM]:
    model = build(mlp)
    kinds = {
        "SGD": lambda: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "Adam": lambda: torch.optim.Adam(model.parameters(), lr=0.1),
        "LBFGS": lambda: torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3),
    }
    return model, SAM(kinds[base](), **settings)


@pytest.mark.parametrize("move", [Copy, Swap])
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_first_pass_gives_no_perturbation_and_the_second_passs_update(kind, value, move):
    model, opt = model_and_opt(move=move())
    twin = build(mlp)
    plain = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    opt.step(Unruly(model, X, Y, {1: KINDS[kind](value)}))
    plain.step(Closure(twin, X, Y))
    assert same(clones(model), clones(twin))
    assert not opt.last.finite and not opt.last.skipped and opt.last.radius == 0
    opt.step(Closure(model, X, Y))
    assert opt.last.finite and opt.last.radius == pytest.approx(0.05)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_epsilon_is_zero_after_a_bad_first_pass(kind, value):
    model, opt = model_and_opt()
    values = clones(model)
    with opt.perturbed(Unruly(model, X, Y, {1: KINDS[kind](value)})) as p:
        assert not any(e.any() for e in p.epsilon) and same(clones(model), values)
    assert not opt.last.finite


@pytest.mark.host("a read withholds the base step; else it has zero gradients")
@pytest.mark.parametrize("base", ["SGD", "Adam", "LBFGS"])
@pytest.mark.parametrize("value", BAD)
def test_a_bad_second_pass_updates_nothing(base, value):
    model, opt = model_and_opt(base)
    opt.step(Closure(model, X, Y))
    values = clones(model)
    opt.step(Unruly(model, X, Y, {k: bad_gradient(value) for k in range(2, 100)}))
    assert same(clones(model), values)
    assert opt.last.finite and opt.last.skipped
    opt.step(Closure(model, X, Y))
    assert not opt.last.skipped and not same(clones(model), values)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.host("a read withholds the base step; else it has zero gradients")
@pytest.mark.parametrize("value", BAD)
def test_two_bad_passes_update_nothing(value):
    model, opt = model_and_opt("Adam")
    opt.step(Closure(model, X, Y))
    values, step = clones(model), opt.state[model[0].weight]["step"].item()
    opt.step(Unruly(model, X, Y, {1: both(value), 2: both(value)}))
    assert same(clones(model), values) and not opt.last.finite and opt.last.skipped
    assert opt.state[model[0].weight]["step"].item() == step


class Poisoned(nn.Module):
    """Outputs are NaN as long as ``bad``, and so is all seen."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.bad = mlp(), True

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x)
        return z * math.nan if self.bad else z


METRICS = [
    Euclidean(),
    ParameterScaled(),
    GradientMagnitude(),
    Monge(),
    DiagonalEmpiricalFisher(),
    DiagonalEmpiricalFisher(0.1),
    EmpiricalFisher(),
    EmpiricalFisher(0.1),
    Fisher(0.1),
    Fisher(),
    KLExact(),
]


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_every_metric_survives_an_observation_that_is_nan(metric):
    model = build(Poisoned)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
    values = clones(model)
    with opt.perturbed(bound) as p:
        assert not any(e.any() for e in p.epsilon)
    assert same(clones(model), values) and not opt.last.finite
    opt.step(bound)
    assert same(clones(model), values) and opt.last.skipped
    model.bad = False
    opt.step(bound)
    assert opt.last.finite and opt.last.radius.item() == pytest.approx(0.05, rel=0.011)
    assert not same(clones(model), values)


@pytest.mark.parametrize("value", BAD)
def test_smoothing_keeps_its_average_clean(value):
    model, opt = model_and_opt(objective=Smoothed(0.9))
    opt.step(Closure(model, X, Y))
    kept = [t.clone() for t in opt.state_dict()["geosam"]["objective"]["average"]]
    opt.step(Unruly(model, X, Y, {1: bad_gradient(value)}))
    assert same(opt.state_dict()["geosam"]["objective"]["average"], kept)
    opt.step(Closure(model, X, Y))
    assert opt.last.finite


@pytest.mark.parametrize("call, match", [(1, "first pass"), (2, "second pass")])
@pytest.mark.parametrize("kind", ["one gradient", "loss and gradients"])
def test_raise_nonfinite_raises_and_harms_nothing(call, match, kind):
    model, opt = model_and_opt(raise_nonfinite=True)
    opt.step(Closure(model, X, Y))
    values = clones(model)
    with pytest.raises(FloatingPointError, match=match):
        opt.step(Unruly(model, X, Y, {call: KINDS[kind](math.nan)}))
    assert same(clones(model), values)
    opt.step(Closure(model, X, Y))
    assert not same(clones(model), values)


def test_a_zero_gradient_is_not_a_bad_one():
    model, opt = model_and_opt()
    values = clones(model)

    def flat() -> Tensor:
        model.zero_grad()
        loss = 0 * F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    opt.step(flat)
    assert opt.last.finite and opt.last.radius == 0 and opt.last.dual_norm == 0 and same(clones(model), values)


def test_an_infinite_loss_with_finite_gradients_is_told():
    model, opt = model_and_opt()
    opt.step(Unruly(model, X, Y, {1: bad_loss(math.inf)}))
    assert opt.last.loss.isinf() and not opt.last.finite


def test_a_sparse_gradient_that_is_nan_updates_nothing():
    words = nn.Embedding(5, 4, sparse=True)
    model = nn.Sequential(words, nn.Linear(4, 3))
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    values, index, passes = clones(model), torch.tensor([0, 3, 3]), iter([1.0, math.nan])

    def closure() -> Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(index), labels(3))
        loss.backward()
        assert words.weight.grad is not None
        words.weight.grad = words.weight.grad * next(passes)
        return loss

    opt.step(closure)
    assert opt.last.skipped and same(clones(model), values)


def test_a_standstill_is_told_once():
    model, bad = build(mlp), X.clone()
    bad[0, 0] = math.nan
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))

    def steps(x: Tensor, count: int) -> None:
        for _ in range(count):
            opt.step(Closure(model, x, Y))

    steps(bad, 9)
    steps(X, 1)
    steps(bad, 9)
    with pytest.warns(Standstill, match="10 updates in a row.*raise_nonfinite=True"):
        steps(bad, 1)
    steps(bad, 20)


class Negative(GradientMagnitude):
    """No norm: its diagonal is below zero."""

    def local(self, observation):
        return Diagonal.of([-torch.ones_like(p) for p in observation.parameters])


@pytest.mark.host("an accelerator is not asked")
@pytest.mark.parametrize("route", ["step", "perturb"])
def test_a_metric_that_never_gives_epsilon_is_told_once(route):
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), Negative())

    def steps(count: int) -> None:
        for _ in range(count):
            closure = Closure(model, X, Y)
            if route == "step":
                opt.step(closure)
            else:
                opt.perturb(closure)
                closure()
                opt.base.step()

    steps(9)
    with pytest.warns(Unperturbed, match="10 steps in a row had no ε.*must be positive"):
        steps(1)
    steps(20)
