"""Parameters in unusual places: adapters, parametrisations, ties, frozen ones, networks that make weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from tests.zoo.layers import N, Net, draw, free, labels, mlp
from tests.zoo.line import Line, Setting

WIDTH = 3


def classes(net: nn.Module, width: int = WIDTH) -> Setting:
    return Setting(net, nn.CrossEntropyLoss(), draw(N, width), labels())


def only(net: nn.Module, trained: Any) -> nn.Module:
    """Gradients for some of the parameters."""
    for name, p in net.named_parameters():
        p.requires_grad_(trained(name))
    return net


class LoRA(nn.Module):
    """W + BA, where W is frozen."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.down, self.up = layer, free(1, layer.in_features), free(layer.out_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + F.linear(F.linear(x, self.down), self.up)


def lora() -> nn.Module:
    net = nn.Sequential(LoRA(nn.Linear(WIDTH, 4)), nn.Tanh(), LoRA(nn.Linear(4, 3)))
    return only(net, lambda name: "layer" not in name)


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).mT


def symmetric() -> nn.Module:
    layer = nn.Linear(WIDTH, WIDTH)
    register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(WIDTH, 3))


class Spread(nn.Module):
    """Low rank."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    def right_inverse(self, w: Tensor) -> tuple[Tensor, Tensor]:
        u, s, v = torch.linalg.svd(w, full_matrices=False)
        return u[:, :1] * s[:1], v[:1]


def low_rank() -> nn.Module:
    layer = nn.Linear(WIDTH, 4)
    register_parametrization(layer, "weight", Spread())
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(4, 3))


def tied() -> nn.Module:
    first, second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(WIDTH, 3))


def shared() -> nn.Module:
    """One layer called three times."""
    return Net(lambda s, x: s.out(s.f(s.f(s.f(x).tanh()).tanh())), f=nn.Linear(WIDTH, WIDTH), out=nn.Linear(WIDTH, 3))


def transposed() -> nn.Module:
    """An auto-encoder's decoder is its encoder, transposed."""
    return Net(lambda s, x: F.linear(s.f(x).tanh(), s.f.weight.T), f=nn.Linear(WIDTH, 4))


def behind() -> nn.Module:
    """A layer's weight once more, behind the layer's back."""
    return Net(lambda s, x: s.out(s.f(x).tanh() + F.linear(x, s.f.weight)), f=nn.Linear(WIDTH, 4), out=nn.Linear(4, 3))


def hyper() -> nn.Module:
    """A network makes the weights of each sample."""

    def run(s: Any, x: Tensor) -> Tensor:
        w = s.make(x[:, :1]).reshape(len(x), 3, 2)
        return torch.einsum("noi,ni->no", w, x[:, 1:]) + s.bias

    return Net(run, make=nn.Linear(1, 6), bias=free(3))


def prompted() -> nn.Module:
    """Learned tokens before those of a sample, through a frozen network."""

    def run(s: Any, x: Tensor) -> Tensor:
        both = torch.cat([s.prompt.expand(len(x), -1, -1), x.unsqueeze(1)], 1)
        return s.body(both).mean(1)

    return only(Net(run, prompt=free(2, WIDTH), body=mlp(WIDTH)), lambda name: name == "prompt")


def scaled() -> nn.Module:
    """(IA)³: scales of activations."""
    net = Net(lambda s, x: s.out(s.first(x).tanh() * s.scale), first=nn.Linear(WIDTH, 4), scale=free(4), out=nn.Linear(4, 3))
    return only(net, lambda name: name == "scale")


def complex_weights() -> nn.Module:
    weight = nn.Parameter(torch.complex(draw(2, 2), draw(2, 2, seed=3)))
    return Net(lambda s, x: torch.fft.irfft(torch.fft.rfft(x) @ s.weight, n=WIDTH).tanh(), weight=weight)


def scalar() -> nn.Module:
    """Parameters without dimensions, and one of no entries."""
    net = Net(
        lambda s, x: s.out(x * s.scale + s.shift) + s.none.sum(),
        scale=free(),
        shift=free(1),
        none=free(0),
        out=nn.Linear(WIDTH, 3),
    )
    return net


def unused() -> nn.Module:
    return Net(lambda s, x: s.out(x), out=nn.Linear(WIDTH, 3), idle=nn.Linear(2, 2))


LINES = [
    Line("LoRA, cross-entropy", lambda: classes(lora())),
    Line("symmetric parametrisation, cross-entropy", lambda: classes(symmetric())),
    Line("low-rank parametrisation, cross-entropy", lambda: classes(low_rank())),
    Line("tied weights, cross-entropy", lambda: classes(tied())),
    Line("a layer called three times, cross-entropy", lambda: classes(shared())),
    Line("a decoder transposed, cross-entropy", lambda: classes(transposed())),
    Line("a weight used behind its layer, cross-entropy", lambda: classes(behind())),
    Line("a network that makes weights, cross-entropy", lambda: classes(hyper())),
    Line("learned prompts, cross-entropy", lambda: classes(prompted())),
    Line("learned scales, cross-entropy", lambda: classes(scaled())),
    Line("biases only, cross-entropy", lambda: classes(only(mlp(WIDTH), lambda name: "bias" in name))),
    Line("the last layer only, cross-entropy", lambda: classes(only(mlp(WIDTH), lambda name: name.startswith("2")))),
    Line("weights without biases, cross-entropy", lambda: classes(only(mlp(WIDTH), lambda name: "weight" in name))),
    Line("scalars and empty parameters, cross-entropy", lambda: classes(scalar())),
    Line("a layer that is never called, cross-entropy", lambda: classes(unused())),
    Line("complex weights, cross-entropy", lambda: classes(complex_weights()), {"all": "complex parameters are not supported"}),
    Line("bilinear, cross-entropy", lambda: classes(Net(lambda s, x: s.f(x, x.tanh()), f=nn.Bilinear(WIDTH, WIDTH, 3)))),
    Line(
        "learned slopes (PReLU), cross-entropy",
        lambda: classes(nn.Sequential(nn.Linear(WIDTH, 4), nn.PReLU(4), nn.Linear(4, 3))),
    ),
]
