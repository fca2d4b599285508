"""Random numbers of every source are set back around evaluations, and what cannot be set back is refused."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.core import vectors as vec
from geosam.metrics import Euclidean
from geosam.observation import PredictiveDistribution
from geosam.problem.likelihoods import categorical
from tests.networks import build, draw, labels

X, Y = draw(6, 4, dtype=torch.float64), labels(6)
GENERATOR = torch.Generator()


class Coin(nn.Module):
    """The middle layer is left out by the toss of a coin."""

    def __init__(self, toss, **held) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.toss = toss
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        return self.c(h + 2 * torch.tanh(self.b(h)) if self.toss(self) < 0.5 else h)


SOURCES = {
    "torch": lambda: Coin(lambda _: torch.rand(())),
    "Python": lambda: Coin(lambda _: random.random()),
    "numpy": lambda: Coin(lambda _: np.random.rand()),
    "a generator handed to an operation": lambda: Coin(lambda _: torch.rand((), generator=GENERATOR)),
    "a generator of the module": lambda: Coin(lambda s: torch.empty(()).uniform_(generator=s.own), own=torch.Generator()),
    "random.Random of the module": lambda: Coin(lambda s: s.own.random(), own=random.Random(3)),
    "numpy's Generator of the module": lambda: Coin(lambda s: s.own.random(), own=np.random.default_rng(3)),
    "numpy's RandomState of the module": lambda: Coin(lambda s: s.own.rand(), own=np.random.RandomState(3)),
}


def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    GENERATOR.manual_seed(0)


def a_small_step_is_small(bound) -> bool:
    """KL, and the rise that the gradient predicts: with another toss at θ + ε both are far off."""
    seen = geosam.observe(bound, (PredictiveDistribution(),))
    epsilon = vec.scale(seen.gradient, 1e-5)
    rise, predicted = bound.surface(seen.parameters).rise(epsilon), vec.dot(seen.gradient, epsilon).item()
    return bool(rise == pytest.approx(predicted, rel=1e-3) and seen[PredictiveDistribution()].kl(epsilon) < 1e-8)


@pytest.mark.parametrize("name", SOURCES)
def test_all_evaluations_of_a_look_toss_alike_and_leave_the_stream_where_it_was(name):
    model, twin = (build(SOURCES[name], dtype=torch.float64) for _ in range(2))
    bound, tosses = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y), []
    seeded()
    for _ in range(6):
        assert a_small_step_is_small(bound)
        tosses.append(float(model.toss(model)))
    seeded()
    assert tosses == [float(twin.toss(twin)) for _ in range(6)]
    assert min(tosses) < 0.5 < max(tosses)


def test_a_step_advances_the_streams_as_two_plain_passes_do():
    tossed: list[float] = []

    def toss(_) -> float:
        tossed.append(random.random())
        return tossed[-1]

    model = build(lambda: Coin(toss), dtype=torch.float64)
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), geosam.metrics.KLExact(along=Euclidean()))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    optimizer.step(bound)
    random.seed(1)
    expected = [random.random(), random.random()]
    random.seed(1)
    tossed.clear()
    optimizer.step(bound)
    assert tossed[0] == expected[0] and tossed[-1] == expected[1] and set(tossed) == set(expected)


def test_a_loss_may_draw_too():
    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(outputs * (1 + random.random()), y)

    model = build(lambda: nn.Linear(4, 3), dtype=torch.float64)
    problem = geosam.Problem(model, loss, categorical)
    assert all(a_small_step_is_small(problem.on(X, Y)) for _ in range(3))


@pytest.mark.parametrize("where", ["model", "loss"])
def test_what_cannot_be_set_back_is_refused(where):
    clock = itertools.count()

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(outputs, y) * (1 + next(clock) if where == "loss" else 1)

    model = build(lambda: Coin(lambda _: next(clock) % 2 if where == "model" else 0), dtype=torch.float64)
    problem = geosam.Problem(model, loss, categorical)
    with pytest.raises(ValueError, match=r"two forward passes .* differ.*Draw from"):
        geosam.observe(problem.on(X, Y), (PredictiveDistribution(),))
