"""Whatever is evaluated outside a step leaves no trace: in the model, the loss, the random streams, or memory."""

import gc
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam import metrics
from geosam.engines import BackPACK, Func
from tests.zoo.check import REFUSALS
from tests.zoo.layers import N, draw, labels
from tests.zoo.line import Line, Setting
from tests.zoo.table import LINES


class Stateful(nn.Module):
    """Counts, caches, lists, a plain tensor that is added to, buffers that come into being, noise of three streams."""

    cache: Tensor | None
    scale: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls, self.seen, self.cache = nn.Linear(4, 3), 0, list[int](), None
        self.total, self.noise = torch.zeros(()), torch.Generator().manual_seed(1)
        self.register_buffer("scale", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        self.total += 1
        if self.scale is None:
            self.scale = x.detach().abs().mean()
        self.cache = x * (1 + 0.1 * random.random() + 0.1 * numpy.random.rand())
        return self.layer(self.cache + 0.1 * torch.rand(x.shape, generator=self.noise).to(x))


class Owning(nn.Module):
    """A loss with a parameter, a buffer and a count of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature, self.calls = nn.Parameter(torch.tensor(1.5)), 0
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        self.mean += z.detach().mean(0)
        return nn.functional.cross_entropy(z / self.temperature, y)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    model[0].register_forward_hook(lambda module, args, out: out + 1)
    model[0].register_forward_pre_hook(lambda module, args: (2 * args[0],))
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda p: p.data.add_(1))  # an optimizer inside the backward pass
    return model


def embedded() -> nn.Module:
    model = nn.Sequential(nn.Embedding(7, 4, max_norm=0.5), nn.Flatten(), nn.Linear(8, 3))
    model[0].weight.data.mul_(3)
    return model


def owned(model: nn.Module, x: Tensor) -> Setting:
    return Setting(model, Owning(), x, labels(), geosam.likelihoods.categorical)


OWN = [
    Line("state in model and loss", lambda: owned(Stateful(), draw(N, 4))),
    Line("hooks, of gradients too", lambda: owned(hooked(), draw(N, 4))),
    Line("max_norm", lambda: owned(embedded(), torch.arange(2 * N).view(N, 2) % 7)),
]
OFTEN = ("BatchNorm in training mode, frozen statistics, cross-entropy", "spectral norm in training mode, cross-entropy")


def looks(bound: geosam.problem.Bound) -> list[Callable[[], Any]]:
    """Every way to look."""
    ones, rho = [torch.ones_like(p) for p in bound.parameters], 0.1
    euclidean, kl = metrics.Euclidean(), metrics.KLExact(along=metrics.GradientMagnitude())
    rows = metrics.EmpiricalFisher(0.1)
    engines = [metrics.DiagonalEmpiricalFisher(engine=engine) for engine in (Func(), BackPACK())]
    fisher = metrics.Fisher(rows_limit=0, iterations=3, tolerance=1e-1)

    def ascended(metric: geosam.Metric) -> Callable[[], Any]:
        return lambda: metric.at(bound).ascend(ones)  # type: ignore[union-attr]

    return [
        *map(ascended, (euclidean, rows, *engines, fisher)),
        lambda: bound.explain(rows),
        lambda: geosam.compare(bound, [euclidean, kl], rho=rho),
        lambda: geosam.calibrate(bound, euclidean, match=geosam.KL(1e-3)),
        lambda: geosam.sharpness(bound, euclidean, rho, samples=2, steps=2, iterations=2),
        lambda: geosam.ascend(bound, euclidean, rho, 2),
    ]


def traces(*parts: Any) -> list[Any]:
    """All that a look may not change."""
    found: list[Any] = [torch.get_rng_state().tolist(), random.getstate(), repr(numpy.random.get_state())]
    for m in (module for part in parts if isinstance(part, nn.Module) for module in part.modules()):
        held = {k: v for k, v in vars(m).items() if k not in ("_parameters", "_buffers", "_modules")}
        found.append({k: [*v] if isinstance(v, dict) else repr(v) for k, v in held.items()})
        found += [v.get_state().tolist() for v in held.values() if isinstance(v, torch.Generator)]
        tensors = [(k, t) for kind in (m._parameters, m._buffers) for k, t in kind.items()]
        found.append([(k, id(t), t if t is None else repr(t.tolist())) for k, t in tensors])
        own = [p for p in m._parameters.values() if p is not None]
        found.append([(p.requires_grad, id(p.grad), repr(p.grad), len(p._backward_hooks or ())) for p in own])
    return found


def alive() -> int:
    gc.collect()
    return sum(issubclass(type(o), Tensor) for o in gc.get_objects())


def leaves_no_trace(line: Line) -> int:
    """How many looks were not refused."""
    setting, served = line.build(torch.float64), 0
    setting.start()
    for p in (p for part in (setting.model, setting.loss) if isinstance(part, nn.Module) for p in part.parameters()):
        p.grad = torch.ones_like(p)
    before, held = traces(setting.model, setting.loss), 0
    for repeated in (False, True):  # a first look finds out what does not depend on θ
        for number, look in enumerate(looks(setting.bound)):
            try:
                look()
                served += 1
            except REFUSALS:
                pass
            assert traces(setting.model, setting.loss) == before, (line.name, number, repeated)
        held, last = alive(), held
    assert held <= last
    return served // 2


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("line", [*OWN, *(LINES[name] for name in OFTEN)], ids=lambda line: line.name)
def test_no_look_leaves_a_trace(line: Line) -> None:
    assert leaves_no_trace(line) > 5


@pytest.mark.zoo
@pytest.mark.parametrize("name", LINES)
def test_no_look_at_the_zoo_leaves_a_trace(name: str) -> None:
    leaves_no_trace(LINES[name])
