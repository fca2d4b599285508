"""``same_mask``: the second pass draws the random numbers of the first."""

import random
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, passes
from geosam.engines import Func, Hooks
from geosam.metrics import MonteCarlo
from tests.networks import FEATURES, build, draw, dropout_net, labels

X, Y = draw(8, FEATURES), labels(8)


class Drawing(nn.Module):
    """Scales its input by numbers of one stream, and keeps them."""

    def __init__(self, stream: str = "torch") -> None:
        super().__init__()
        self.inner, self.head, self.seen = nn.Linear(FEATURES, 6), nn.Linear(6, 3), []
        self.generator = torch.Generator().manual_seed(3) if stream == "generator" else None
        self.numpy = sys.modules["numpy"].random if stream == "numpy" else None
        self.python = random if stream == "python" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.python or self.numpy:
            factor = torch.tensor((self.python or self.numpy).random())
        else:
            factor = torch.rand((), generator=self.generator)
        self.seen.append(factor.item())
        return self.head(torch.tanh(self.inner(x)) * factor)


def trainer(stream: str = "torch", metric=None, same_mask: bool = True, **settings):
    model = build(lambda: Drawing(stream))
    base = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, geosam.SAM(base, metric, same_mask=same_mask, **settings), geosam.Problem(model, nn.CrossEntropyLoss())


def by_closure(model, opt, problem):
    def closure() -> torch.Tensor:
        model.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    opt.step(closure)


def by_problem(model, opt, problem):
    opt.step(problem.on(X, Y))


def by_list(model, opt, problem):
    opt.step([problem.on(X[:4], Y[:4]), problem.on(X[4:], Y[4:])])


def by_perturb(model, opt, problem):
    opt.perturb(problem.on(X, Y))
    F.cross_entropy(model(X), Y).backward()
    opt.base.step()


def by_perturbed(model, opt, problem):
    with opt.perturbed(problem.on(X, Y)):
        F.cross_entropy(model(X), Y).backward()
    opt.base.step()


ROUTES = [by_closure, by_problem, by_list, by_perturb, by_perturbed]


@pytest.mark.parametrize("stream", ["torch", "python", "numpy"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.__name__)
def test_both_passes_draw_the_same_numbers_and_steps_other_ones(route, stream):
    model, opt, problem = trainer(stream)
    route(model, opt, problem)  # the first step finds out which streams are used
    draws = []
    for _ in range(2):
        model.seen.clear()
        route(model, opt, problem)
        half = len(model.seen) // 2
        assert half in (1, 2) and model.seen[:half] == model.seen[half:]
        draws += model.seen[:half]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.__name__)
def test_by_default_they_draw_others(route):
    model, opt, problem = trainer(same_mask=False)
    route(model, opt, problem)
    half = len(model.seen) // 2
    assert not set(model.seen[:half]) & set(model.seen[half:])


def test_a_generator_that_a_module_holds():
    model, opt, problem = trainer("generator")
    for _ in range(2):
        by_problem(model, opt, problem)
        assert model.seen[-1] == model.seen[-2]
    assert model.seen[-1] != model.seen[-3]


@pytest.mark.parametrize("sampling", [metrics.Exact(), MonteCarlo(1)], ids=lambda s: type(s).__name__)
def test_labels_are_drawn_from_other_numbers(sampling):
    model, opt, problem = trainer(metric=metrics.Fisher(sampling=sampling))
    by_problem(model, opt, problem)
    model.seen.clear()
    by_problem(model, opt, problem)
    before = torch.get_rng_state()
    assert len(set(model.seen)) == 1
    assert torch.rand(()).item() not in model.seen
    torch.set_rng_state(before)


class Both(geosam.updates.Update):
    """Keeps the gradients of both passes."""

    def keep(self, gradient, finite, norm=None):
        return [g.clone() for g in gradient]

    def apply(self, kept, parameters, scale):
        self.found = kept, [p.grad.clone() for p in parameters]


@pytest.mark.parametrize("engine", [Func(), Hooks()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("same", [True, False])
def test_dropout_of_engines(engine, same):
    model, update = build(dropout_net), Both()
    base = torch.optim.SGD(model.parameters(), lr=0.1)
    metric = metrics.DiagonalEmpiricalFisher(1.0, engine=engine)
    opt = geosam.SAM(base, metric, rho=1e-9, same_mask=same, update=update)
    for _ in range(2):
        by_problem(model, opt, geosam.Problem(model, nn.CrossEntropyLoss()))
        first, second = update.found
        gap = max((a - b).abs().max() for a, b in zip(first, second, strict=True))
        assert (gap < 1e-6) == same


def test_a_joined_first_pass_has_no_mask_of_micro_batches():
    model, opt, problem = trainer(metric=metrics.EmpiricalFisher())
    with pytest.raises(NotImplementedError, match=r"same_mask=True: EmpiricalFisher .* opt.perturb before each"):
        by_list(model, opt, problem)


def test_without_a_first_pass_there_is_nothing_to_repeat():
    model, opt, problem = trainer(passes=passes.Every(2, again=True))
    for _ in range(4):
        by_problem(model, opt, problem)
    assert len(set(model.seen)) == len(model.seen) - 2  # two steps of two passes
