"""What a user does wrong, where a line is not enough to say it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import updates
from tests.networks import build, draw, labels, mlp

X, Y = draw(6, 4), labels(6)
SGD = torch.optim.SGD


class Bench(NamedTuple):
    """A model, its problem and batch; fresh in every row."""

    model: nn.Module
    problem: geosam.Problem
    bound: Any

    def base(self, **options: Any) -> SGD:
        return SGD(self.model.parameters(), lr=0.1, momentum=0.9, **options)

    def sam(self, **parts: Any) -> geosam.SAM:
        return geosam.SAM(self.base(), **parts)

    def step(self, source: Any = None, **parts: Any) -> Any:
        return self.sam(**parts).step(self.bound if source is None else source)

    def loss(self) -> Tensor:
        return F.cross_entropy(self.model(X), Y)

    def closure(self) -> Tensor:
        self.model.zero_grad()
        loss = self.loss()
        loss.backward()
        return loss


def bench() -> Bench:
    model = build(mlp)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    return Bench(model, problem, problem.on(X, Y))


def once(b: Bench, loss: Callable[[], Tensor]) -> Tensor:
    """As a closure with another loss than its own."""
    b.model.zero_grad()
    found = loss()
    found.backward()
    return found


def added(b: Bench) -> Tensor:
    loss = b.loss()
    loss.backward()
    return loss


def clipped(b: Bench) -> Tensor:
    loss = b.closure()
    nn.utils.clip_grad_norm_(b.model.parameters(), 1e-3)
    return loss


def scaled(b: Bench) -> Tensor:
    once(b, lambda: 2.0**16 * b.loss())
    return b.loss().detach()


def by_hand(opt: geosam.SAM, b: Bench) -> None:
    with opt.perturbed(b.bound):
        found = torch.autograd.grad(b.loss(), list(b.model.parameters()))
    for p, g in zip(b.model.parameters(), found, strict=True):
        p.grad = g
    opt.base.step()


def outside(opt: geosam.SAM, b: Bench) -> Any:
    with opt.perturbed(b.bound) as p:
        pass
    return p.epsilon


def twice(opt: geosam.SAM, b: Bench) -> None:
    opt.perturb(b.bound, until="backward")
    b.loss().backward()
    b.loss().backward()


def through_scaler(opt: geosam.SAM, b: Bench) -> None:
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(b.loss()).backward()
    scaler.step(opt)


def radii(b: Bench) -> geosam.SAM:
    first, *others = b.model.parameters()
    return geosam.SAM(SGD([{"params": [first], "rho": 0.1}, {"params": others}], lr=0.1))


def overlapping(b: Bench) -> Any:
    whole = torch.randn(8)
    return one_step([nn.Parameter(whole[:5]), nn.Parameter(whole[3:])])


def swapped(b: Bench) -> Any:
    return one_step([nn.Parameter(torch.ones(4)[:2])], move=geosam.Swap())


def one_step(parameters: list[nn.Parameter], **parts: Any) -> Any:
    """On the parameters' own length."""
    opt = geosam.SAM(SGD(parameters, lr=0.1), **parts)

    def closure() -> Tensor:
        opt.zero_grad()
        loss = sum((p.square().sum() for p in parameters), torch.zeros(()))
        loss.backward()
        return loss

    return opt.step(closure)


def searching(b: Bench) -> geosam.SAM:
    return geosam.SAM(torch.optim.LBFGS(b.model.parameters()))


def complex_valued(b: Bench) -> Any:
    return geosam.SAM(SGD([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], lr=0.1))


def sparse(b: Bench) -> Any:
    words = nn.Embedding(5, 2, sparse=True)
    opt = geosam.SAM(SGD(words.parameters(), lr=0.1), update=updates.SurrogateGap(0.3))

    def closure() -> Tensor:
        opt.zero_grad()
        loss = words(torch.tensor([1, 2])).square().mean()
        loss.backward()
        return loss

    return opt.step(closure)
