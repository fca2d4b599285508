"""How a model runs: compiled, checkpointed, in bfloat16, with hooks, functions and random numbers of its own."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.zoo.layers import N, Net, draw, labels, mlp
from tests.zoo.line import GROUPS, TOGETHER, Line, Setting

WIDTH = 3


def classes(net: nn.Module, **options: Any) -> Setting:
    return Setting(net, nn.CrossEntropyLoss(), draw(N, WIDTH), labels(), **options)


def compiled(backend: str) -> Setting:
    torch.compiler.reset()
    net = mlp(WIDTH)
    return classes(torch.compile(net, backend=backend), plain=net)  # type: ignore[arg-type]


def checkpointed(reentrant: bool) -> Setting:
    def run(s: Any, x: Tensor) -> Tensor:
        return s.out(checkpoint(s.body, s.first(x), use_reentrant=reentrant))

    found = classes(Net(run, first=nn.Linear(WIDTH, 3), body=mlp(3, 3, 3), out=nn.Linear(3, 3)))
    found.plain = Net(lambda s, x: s.out(s.body(s.first(x))), **dict(found.model.named_children()))
    return found


def autocast() -> Setting:
    """float64 stays as it is under autocast, so that the oracle is exact."""

    def run(s: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return s.body(x).to(x.dtype)

    return classes(Net(run, body=mlp(WIDTH)))


class Old(torch.autograd.Function):
    """With ctx in forward, which torch.func cannot transform."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, w = ctx.saved_tensors
        return g @ w, g.T @ x


class New(torch.autograd.Function):
    """With setup_context, and a rule for vmap."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor) -> Tensor:
        return x @ w.T

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, w = ctx.saved_tensors
        return g @ w, g.mT @ x


def function(kind: Any) -> Setting:
    return classes(
        Net(
            lambda s, x: s.out(kind.apply(x, s.first.weight).tanh()), first=nn.Linear(WIDTH, 3, bias=False), out=nn.Linear(3, 3)
        )
    )


def straight_through() -> Setting:
    """Rounded forward, the identity backward: forward and reverse mode need not agree."""
    return classes(Net(lambda s, x: s.out(_rounded(s.first(x))), first=nn.Linear(WIDTH, 3), out=nn.Linear(3, 3)))


def _rounded(h: Tensor) -> Tensor:
    return h + (h.round() - h).detach()


def hooked() -> Setting:
    """A forward hook doubles a layer's output."""
    net = mlp(WIDTH)
    net[0].register_forward_hook(lambda m, i, o: 2 * o)
    return classes(net)


def overwriting() -> Setting:
    """Activations in place."""
    return classes(Net(lambda s, x: s.out(s.first(x).mul_(0.5).tanh_()), first=nn.Linear(WIDTH, 4), out=nn.Linear(4, 3)))


def writes_its_input() -> Setting:
    """The model changes x."""
    return classes(Net(lambda s, x: s.body(x.mul_(2.0)), body=mlp(WIDTH)))


def noisy(draw_one: Any, together: bool = True) -> Setting:
    """A layer is dropped where a coin says so."""

    def run(s: Any, x: Tensor) -> Tensor:
        h = s.first(x).tanh()
        return s.out(h + 2 * s.middle(h).tanh() * draw_one(h))

    net = Net(run, first=nn.Linear(WIDTH, 3), middle=nn.Linear(3, 3), out=nn.Linear(3, 3))
    return classes(net, together=together)


def dropout() -> Setting:
    return classes(nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3)), together=True)


def by_generator() -> Setting:
    generator = torch.Generator()
    found = noisy(lambda h: torch.rand(1, generator=generator, dtype=torch.float64).to(h))
    found.start = lambda: generator.manual_seed(5)
    return found


def counting() -> Setting:
    """A number of its own that changes at each call."""
    calls: list[int] = []

    def run(s: Any, x: Tensor) -> Tensor:
        calls.append(1)
        return s.body(x) * len(calls)

    return classes(Net(run, body=mlp(WIDTH)), start=calls.clear, together=True)


def carried() -> Setting:
    """A state from batch to batch."""

    def run(s: Any, x: Tensor) -> Tensor:
        state = s.cell(x, s.state[: len(x)])
        s.state = state.detach()
        return s.out(state)

    net = Net(run, cell=nn.GRUCell(WIDTH, 2), out=nn.Linear(2, 3))
    return classes(net, together=True, start=lambda: setattr(net, "state", torch.zeros(N, 2)))


def half() -> Setting:
    found = classes(mlp(WIDTH))
    found.model, found.x = found.model.bfloat16(), found.x.bfloat16()
    return found


ONE_COIN = tuple(name for name in TOGETHER if name != "rows by Func")  # Func tosses a coin for each sample
SMOOTH = tuple(name for name in GROUPS["all"] if name != "KLExact")  # a step function of θ has no first crossing

SECOND = {"sharpness": "H is not symmetric"}
ROUNDED = tuple(name for name in GROUPS["all"] if name != "Fisher by products")  # conjugate gradients need the digits
REENTRANT = dict.fromkeys(("Fisher products", "Fisher by products", "KroneckerFisher", "sharpness"), "Set use_reentrant=False")
DIFFER = {"all": "two forward passes at the same parameters, with the same random numbers, differ"}

LINES = [
    Line("compiled (eager), cross-entropy", lambda: compiled("eager")),
    Line("compiled (aot_eager), cross-entropy", lambda: compiled("aot_eager")),
    Line("checkpointed, cross-entropy", lambda: checkpointed(False)),
    Line("checkpointed, reentrant, cross-entropy", lambda: checkpointed(True), REENTRANT),
    Line("autograd.Function of the old kind, cross-entropy", lambda: function(Old)),
    Line("autograd.Function of the new kind, cross-entropy", lambda: function(New)),
    Line("rounding, straight through, cross-entropy", straight_through, only=SMOOTH),
    Line("a hook that doubles, cross-entropy", hooked),
    Line("activations in place, cross-entropy", overwriting),
    Line("a model that writes to its input, cross-entropy", writes_its_input),
    Line("dropout in training mode, cross-entropy", dropout, only=TOGETHER),
    Line(
        "a layer dropped by torch's numbers, cross-entropy",
        lambda: noisy(lambda h: torch.rand(1, dtype=torch.float64).to(h)),
        only=ONE_COIN,
    ),
    Line("a layer dropped by Python's numbers, cross-entropy", lambda: noisy(lambda h: random.random()), only=ONE_COIN),
    Line("a layer dropped by numpy's numbers, cross-entropy", lambda: noisy(lambda h: np.random.rand()), only=ONE_COIN),
    Line("a layer dropped by a generator's numbers, cross-entropy", by_generator, only=ONE_COIN),
    Line("a count of calls in a closure, cross-entropy", counting, DIFFER),
    Line("a state from batch to batch, cross-entropy", carried),
    Line("bfloat16 autocast, cross-entropy", autocast, SECOND, ROUNDED, (torch.float32,), 0.05),
]
