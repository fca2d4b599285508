"""Inputs and outputs of other shapes: several, in tuples and dictionaries, and loops until something converges."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.layers import N, Net, draw, labels, mlp
from tests.zoo.line import NO_LIKELIHOOD, Line, Setting

WIDTH = 3


def classes(run: Any, x: Any = None, **parts: Any) -> Setting:
    return Setting(Net(run, **parts), nn.CrossEntropyLoss(), draw(N, WIDTH) if x is None else x, labels())


def pair() -> Any:
    return draw(N, WIDTH), draw(N, 2, seed=4)


def joined(s: Any, a: Tensor, b: Tensor) -> Tensor:
    return s.out(torch.cat([s.left(a), s.right(b)], 1).tanh())


def parts() -> dict[str, nn.Module]:
    return {"left": nn.Linear(WIDTH, 2), "right": nn.Linear(2, 2), "out": nn.Linear(4, 3)}


def several() -> Setting:
    """Classes and a number, as a tuple; two losses, added."""

    def loss(z: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(z[0], y[0]) + F.mse_loss(z[1], y[1])

    net = Net(
        lambda s, x: (s.first(s.body(x)), s.second(s.body(x))),
        body=mlp(WIDTH, 3),
        first=nn.Linear(3, 3),
        second=nn.Linear(3, 1),
    )
    return Setting(net, loss, draw(N, WIDTH), (labels(), draw(N, 1, seed=5)))


def named() -> Setting:
    """A dictionary of outputs, as transformers' models give."""
    net = Net(lambda s, x: {"logits": s.body(x), "hidden": x}, body=mlp(WIDTH))
    return Setting(net, lambda z, y: F.cross_entropy(z["logits"], y), draw(N, WIDTH), labels())


def equilibrium(s: Any, x: Tensor) -> Tensor:
    """A fixed point by 20 steps of a contraction."""
    z = torch.zeros_like(x)
    for _ in range(20):
        z = torch.tanh(0.3 * s.loop(z) + x)
    return s.out(z)


def adaptive(s: Any, x: Tensor) -> Tensor:
    """Each sample stops where its own step is small."""
    z, going = torch.zeros_like(x), torch.ones(len(x), 1, dtype=torch.bool)
    for _ in range(6):
        new = torch.tanh(0.3 * s.loop(z) + x)
        z, going = torch.where(going, new, z), going & ((new - z).norm(dim=1, keepdim=True) > 0.05)
    return s.out(z)


def euler(s: Any, x: Tensor) -> Tensor:
    """A neural ODE by six steps."""
    for _ in range(6):
        x = x + s.loop(x).tanh() / 6
    return s.out(x)


def spectrum(s: Any, x: Tensor) -> Tensor:
    return s.out(torch.view_as_real(torch.fft.rfft(s.first(x))).flatten(1))


def ranked(s: Any, x: Tensor) -> Tensor:
    """Features sorted within each sample."""
    return s.out(s.first(x).sort(1).values)


def distances(s: Any, x: Tensor) -> Tensor:
    """A radial basis: distances to centres."""
    return s.out((-(x[:, None] - s.centres.weight).square().sum(2)).exp())


def pooled(s: Any, x: Tensor) -> Tensor:
    """The nodes of each sample in the order of their first feature."""
    h = s.first(x.view(len(x), 3, 2))
    return s.out(h.gather(1, h[..., :1].argsort(1).expand_as(h)).flatten(1))


def made(s: Any, x: Tensor) -> Tensor:
    """A hypernetwork: a matrix for each sample, made from it."""
    return s.out(torch.bmm(s.maker(x).view(-1, 3, WIDTH), x.unsqueeze(2)).squeeze(2).tanh())


def masked(s: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Moduli of complex features, some left out."""
    return s.out((x @ torch.view_as_complex(s.maker.weight.view(WIDTH, 4, 2))).abs() * mask)


def complex_pair() -> tuple[Tensor, Tensor]:
    return torch.complex(draw(N, WIDTH), draw(N, WIDTH, seed=4)), draw(N, 4, seed=5) > -0.5


def one_output() -> Setting:
    """A vector of n numbers: no dimension but the batch."""
    return Setting(Net(lambda s, x: s.body(x).squeeze(1), body=mlp(WIDTH, 1)), nn.MSELoss(), draw(N, WIDTH), draw(N, seed=4))


def loop() -> dict[str, nn.Module]:
    return {"loop": nn.Linear(WIDTH, WIDTH), "out": nn.Linear(WIDTH, 3)}


LINES = [
    Line("two inputs in a tuple, cross-entropy", lambda: classes(joined, pair(), **parts())),
    Line("two inputs in a dictionary, cross-entropy", lambda: classes(joined, dict(zip("ab", pair(), strict=True)), **parts())),
    Line("two outputs in a tuple, two losses", several, NO_LIKELIHOOD),
    Line("outputs in a dictionary, cross-entropy", named, NO_LIKELIHOOD),
    Line("one number a sample, squared error", one_output),
    Line("a deep equilibrium, cross-entropy", lambda: classes(equilibrium, **loop())),
    Line("a loop that ends for each sample by itself, cross-entropy", lambda: classes(adaptive, **loop())),
    Line("a neural ODE, cross-entropy", lambda: classes(euler, **loop())),
    Line("Fourier transform, cross-entropy", lambda: classes(spectrum, first=nn.Linear(WIDTH, 3), out=nn.Linear(4, 3))),
    Line("sorted features, cross-entropy", lambda: classes(ranked, first=nn.Linear(WIDTH, 4), out=nn.Linear(4, 3))),
    Line("sorted nodes, cross-entropy", lambda: classes(pooled, draw(N, 6), first=nn.Linear(2, 3), out=nn.Linear(9, 3))),
    Line("a matrix made for each sample, cross-entropy", lambda: classes(made, maker=nn.Linear(WIDTH, 9), out=nn.Linear(3, 3))),
    Line(
        "complex inputs and a mask, cross-entropy",
        lambda: classes(masked, complex_pair(), maker=nn.Linear(8, WIDTH, bias=False), out=nn.Linear(4, 3)),
        dtypes=(torch.float64,),
    ),
    Line(
        "distances to centres, cross-entropy", lambda: classes(distances, centres=nn.Embedding(4, WIDTH), out=nn.Linear(4, 3))
    ),
]
