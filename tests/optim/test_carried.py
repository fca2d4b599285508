"""A state that a model carries from batch to batch: both passes begin with it, and a step leaves what a plain step leaves."""

import collections
import copy
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
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


def test_a_log_has_an_entry_of_each_pass():
    model = nn.Sequential(nn.Linear(3, 3))
    model.log = []  # type: ignore[assignment]
    model.register_forward_hook(lambda m, args, out: m.log.append(out.detach()))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=RHO)
    for k in (2, 4):
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(BATCHES[0].float(), Y))
        assert len(model.log) == k  # type: ignore[arg-type]


class Pair(NamedTuple):
    """A state of two parts."""

    h: Tensor
    t: int


@dataclasses.dataclass
class Memory:
    """A state that is written to in place, with another one inside."""

    h: Tensor
    inner: dict[str, list[Tensor]]


class Slotted:
    """A state without a dictionary."""

    __slots__ = ("h",)

    def __init__(self, h: Tensor) -> None:
        self.h = h


class Remembering(nn.Module):
    """A perceptron that adds what ``read`` makes of its past, and is then given its outputs."""

    def __init__(self, start: Callable[[Any], Any], read: Callable[[Any], Any], write: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.out, self.rule = nn.Linear(3, 3), (read, write)
        start(self)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.tanh(self.out(x) + self.rule[0](self))
        self.rule[1](self, out.detach().mean(0))
        return out


def assign(m: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(m, name, value)


def teach(teacher: nn.Module, student: nn.Module) -> None:
    for p, q in zip(teacher.parameters(), student.parameters(), strict=True):
        p.data = 0.5 * p.data + 0.5 * q.data


def hide(m: Any) -> None:
    m.teacher = [copy.deepcopy(m.out).double().requires_grad_(False)]


def named(m: Any) -> nn.Module:
    m.at = "a"
    return m  # type: ignore[no-any-return]


def resize(m: Any, h: Tensor) -> None:
    new = torch.cat([m.queue, h[None]])
    m.queue.resize_(new.shape).copy_(new)


def zeros() -> Tensor:
    return torch.zeros(3, dtype=torch.float64)


KINDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any, Tensor], Any]]] = {
    "counter": (lambda m: assign(m, t=0), lambda m: 0.3 * m.t, lambda m, h: assign(m, t=m.t + 1)),
    "name": (lambda m: assign(m, at="a"), lambda m: float(m.at == "a"), lambda m, h: assign(m, at="b" if m.at == "a" else "a")),
    "named tuple": (
        lambda m: assign(m, s=Pair(zeros(), 0)),
        lambda m: m.s.h * m.s.t,
        lambda m, h: assign(m, s=Pair(h, m.s.t + 1)),
    ),
    "nested": (lambda m: assign(m, s=[(zeros(),)]), lambda m: m.s[0][0], lambda m, h: m.s.__setitem__(0, (h,))),
    "queue": (
        lambda m: assign(m, s=collections.deque([zeros()], maxlen=2)),
        lambda m: torch.stack([*m.s]).mean(0),
        lambda m, h: m.s.append(h),
    ),
    "growing list": (lambda m: assign(m, s=[]), lambda m: sum(m.s), lambda m, h: m.s.append(h)),
    "set": (lambda m: assign(m, s=set()), lambda m: 0.2 * len(m.s), lambda m, h: m.s.add(len(m.s))),
    "object": (
        lambda m: assign(m, s=Memory(zeros(), {"c": [zeros()]})),
        lambda m: m.s.h.clone() + 2 * m.s.inner["c"][0],
        lambda m, h: (m.s.h.copy_(h), m.s.inner["c"].__setitem__(0, h)),
    ),
    "slots": (lambda m: assign(m, s=Slotted(zeros())), lambda m: m.s.h, lambda m, h: assign(m.s, h=h)),
    "array": (
        lambda m: assign(m, s=np.zeros(3)),
        lambda m: torch.tensor(m.s),
        lambda m, h: m.s.__setitem__(slice(None), h.numpy()),
    ),
    "registered later": (lambda m: None, lambda m: getattr(m, "late", 0.0), lambda m, h: m.register_buffer("late", h)),
    "resized buffer": (lambda m: m.register_buffer("queue", zeros()[None]), lambda m: m.queue.mean(0).clone(), resize),
    "teacher": (
        lambda m: m.add_module("teacher", copy.deepcopy(m.out).requires_grad_(False)),
        lambda m: m.teacher.weight[0].clone(),
        lambda m, h: teach(m.teacher, m.out),
    ),
    "hidden name": (
        lambda m: assign(m, teacher=[named(nn.Identity())]),
        lambda m: float(m.teacher[0].at == "a"),
        lambda m, h: assign(m.teacher[0], at="b" if m.teacher[0].at == "a" else "a"),
    ),
    "hidden teacher": (hide, lambda m: m.teacher[0].weight[0].clone(), lambda m, h: teach(m.teacher[0], m.out)),
}


TALLIES = ("counter", "growing list")
"""What tells of all passes, though each begins with what was there before the step."""


@pytest.mark.parametrize("which", ["first", "second", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_pass_leaves_in_the_model_is_carried(kind, which):
    torch.manual_seed(0)
    model = Remembering(*KINDS[kind]).double()
    expected = copy.deepcopy(model)
    opt = geosam.SAM(torch.optim.SGD(model.out.parameters(), lr=LR), rho=RHO, batchnorm=which)
    for x in BATCHES:
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, Y))
        expected = step_of_copies(expected, x, which)
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(KINDS[kind][1](model), KINDS[kind][1](expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("registered later", *TALLIES)])
def test_rows_leave_the_model_as_a_pass_of_its_own(kind):
    torch.manual_seed(0)
    model = Remembering(*KINDS[kind]).double()
    expected = copy.deepcopy(model)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    metrics.EmpiricalFisher().at(problem.on(BATCHES[0], Y))
    torch.testing.assert_close(KINDS[kind][1](model), KINDS[kind][1](expected), rtol=0, atol=0)  # a look leaves none
    opt = geosam.SAM(torch.optim.SGD(model.out.parameters(), lr=0.0), metrics.EmpiricalFisher())
    for x in BATCHES:
        opt.step(problem.on(x, Y))
        expected(x)
    torch.testing.assert_close(KINDS[kind][1](model), KINDS[kind][1](expected), rtol=1e-10, atol=1e-10)


def step_of_copies(model: Any, x: Tensor, which: str) -> Any:
    """SAM with a copy of everything for each pass; the copy whose state counts, with the new parameters."""

    def gradient(m: Any) -> list[Tensor]:
        return list(torch.autograd.grad(F.cross_entropy(m(x), Y), list(m.out.parameters())))

    theta = [p.detach().clone() for p in model.out.parameters()]
    first = copy.deepcopy(model)
    g = gradient(first)
    second = copy.deepcopy(first if which == "both" else model)
    length = torch.cat([t.flatten() for t in g]).norm()
    with torch.no_grad():
        for p, start, t in zip(second.out.parameters(), theta, g, strict=True):
            p.copy_(start + RHO * t / length)
    s = gradient(second)
    counts = first if which == "first" else second
    with torch.no_grad():
        for p, start, t in zip(counts.out.parameters(), theta, s, strict=True):
            p.copy_(start - LR * t)
    if which != "both" and hasattr(model, "t"):
        counts.t = first.t + second.t - model.t
    if which != "both" and type(getattr(model, "s", None)) is list and len(first.s) > len(model.s):
        counts.s = [*first.s, *second.s[len(model.s) :]]
    return counts
