"""A state that a model carries from batch to batch: both passes begin with it, and a step leaves what a plain step leaves."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import metrics
from tests.networks import draw

RHO, LR = 0.3, 0.5
BATCHES = [draw(4, 3, seed=k, dtype=torch.float64) for k in range(3)]
Y = torch.tensor([0, 1, 2, 0])


class Carrying(nn.Module):
    """A recurrent cell whose state outlasts the batch, kept in one of several ways."""

    state: Any

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.cell, self.out = how, nn.GRUCell(3, 2), nn.Linear(2, 3)
        if how == "buffer":
            self.register_buffer("state", torch.zeros(4, 2))
        elif how != "born":
            self.state = {"tuple": None, "list": [torch.zeros(4, 2)], "dict": {}}.get(how, torch.zeros(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.cell(x, self.read()[: len(x)])
        self.write(h.detach())
        return self.out(h)

    def read(self) -> Tensor:
        if self.how == "tuple":
            return torch.zeros(4, 2).to(self.out.weight) if self.state is None else self.state[0]
        if self.how == "born":
            return getattr(self, "state", torch.zeros(4, 2).to(self.out.weight))
        if self.how == "dict":
            return self.state.get("h", torch.zeros(4, 2).to(self.out.weight))
        return (self.state[0] if self.how == "list" else self.state).to(self.out.weight).clone()

    def write(self, h: Tensor) -> None:
        if self.how == "in place":
            self.state.copy_(h)
        elif self.how == "list":
            self.state[0] = h
        elif self.how == "dict":
            self.state["h"] = h
        else:
            self.state = (h,) if self.how == "tuple" else h


def train(model: Carrying, opt: geosam.SAM, by_closure: bool) -> None:
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for x in BATCHES:

        def closure(x: Tensor = x) -> Tensor:
            model.zero_grad()
            loss = F.cross_entropy(model(x), Y)
            loss.backward()
            return loss

        opt.step(closure if by_closure else problem.on(x, Y))


def by_hand(model: Carrying) -> None:
    """SAM with every pass at the state before the step; the state after the pass at θ stays."""
    theta, h = list(model.parameters()), torch.zeros(4, 2, dtype=torch.float64)

    def gradient(x: Tensor) -> tuple[list[Tensor], Tensor]:
        new = model.cell(x, h)
        return list(torch.autograd.grad(F.cross_entropy(model.out(new), Y), theta)), new.detach()

    for x in BATCHES:
        first, new = gradient(x)
        length = torch.cat([g.flatten() for g in first]).norm()
        with torch.no_grad():
            for p, g in zip(theta, first, strict=True):
                p.add_(RHO * g / length)
        second, _ = gradient(x)
        with torch.no_grad():
            for p, g, s in zip(theta, first, second, strict=True):
                p.sub_(RHO * g / length + LR * s)
        h = new
    model.write(h)


HOW = ("attribute", "born", "in place", "tuple", "list", "dict", "buffer")
WAYS = [
    *((how, "problem") for how in HOW),
    ("in place", "closure"),
    ("tuple", "closure"),
    ("tuple", "rows"),
    ("buffer", "rows"),
]


@pytest.mark.parametrize("how, way", WAYS)
def test_both_passes_see_the_state_before_the_step(how, way):
    torch.manual_seed(0)
    model = Carrying(how).double()
    if how in ("attribute", "in place"):
        model.state = model.state.double()
    twin = copy.deepcopy(model)
    by_hand(twin)
    # a heavy damping leaves the Euclidean ball, with another first pass
    metric, rho = (metrics.EmpiricalFisher(1e8), RHO * 1e4) if way == "rows" else (metrics.Euclidean(), RHO)
    train(model, geosam.SAM(torch.optim.SGD(model.parameters(), lr=LR), metric, rho), way == "closure")
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.read(), twin.read(), rtol=1e-8, atol=1e-8)


def test_a_layer_that_sets_its_parameters_up_by_the_first_batch_does_so_once():
    class Set(nn.Module):
        ready: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(3, dtype=torch.float64))
            self.register_buffer("ready", torch.tensor(False))

        def forward(self, x: Tensor) -> Tensor:
            if not self.ready:
                self.shift.data.copy_(-x.mean(0))
                self.ready.fill_(True)
            return x + self.shift

    model = nn.Sequential(Set(), nn.Linear(3, 3).double())
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=RHO)
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda m, args, out: seen.append(args[0].detach()))
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(BATCHES[0], Y))
    assert torch.equal(model[0].shift, -BATCHES[0].mean(0)) and (seen[1] - seen[0]).norm() > 1e-3


def test_a_log_of_the_passes_is_left_alone():
    model = nn.Sequential(nn.Linear(3, 3))
    model.log = []  # type: ignore[assignment]
    model.register_forward_hook(lambda m, args, out: m.log.append(out.detach()))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=RHO)
    for k in (2, 4):
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(BATCHES[0].float(), Y))
        assert len(model.log) == k  # type: ignore[arg-type]
