"""Products with J are the adjoint of autograd's Jᵀ, also where forward mode has no rule or another one."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_map

import geosam
from geosam.core import vectors as vec
from geosam.metrics import Euclidean, Fisher, KLExact
from geosam.observation import PredictiveDistribution
from geosam.predictive import modes
from tests.fishers import closeness, flat
from tests.networks import build, draw, labels

FLOAT64 = torch.float64
WORDS, NEXT = labels(42, 7, 3).reshape(6, 7), labels(42, 7, 4).reshape(6, 7)


class Cube(torch.autograd.Function):
    """x³, written by hand."""

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.saved_tensors[0] ** 2 * g


class Right(Cube):
    """Its jvp is right."""

    @staticmethod
    def jvp(ctx, t):
        return 3 * ctx.saved_tensors[0] ** 2 * t


class Wrong(Cube):
    """Its jvp is not."""

    @staticmethod
    def jvp(ctx, t):
        return 2 * ctx.saved_tensors[0] ** 2 * t


class RightOnce(Right):
    """Backward cannot be differentiated, and need not be."""

    backward = staticmethod(once_differentiable(Cube.backward))  # type: ignore[assignment]


class WrongOnce(Wrong):
    """Nothing tells Jv."""

    backward = staticmethod(once_differentiable(Cube.backward))  # type: ignore[assignment]


class ByHand(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function, self.first, self.last = function, nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function.apply(self.first(x)))


class Words(nn.Module):
    """An embedding whose padding moves in forward mode only; the head may share it."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed, self.inner = nn.Embedding(7, 5, padding_idx=0), nn.Linear(5, 5)
        self.head = nn.Linear(5, 7, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, i: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(self.embed(i)))).transpose(1, 2)


CASES = {
    "padding": (lambda: Words(False), True),
    "padding, tied": (lambda: Words(True), True),
    "a wrong jvp": (lambda: ByHand(Wrong), True),
    "no jvp": (lambda: ByHand(Cube), True),
    "a right jvp": (lambda: ByHand(Right), False),
    "a right jvp and no second derivative": (lambda: ByHand(RightOnce), False),
}


def bind(make):
    model = build(make, dtype=FLOAT64)
    x, y = (WORDS, NEXT) if isinstance(model, Words) else (draw(6, 4, dtype=FLOAT64), labels(6))
    return geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)


def dense(predictive) -> Tensor:
    """F from the dense J of reverse mode."""
    leaves = [p.detach().requires_grad_() for p in predictive.parameters]
    z = predictive.forward(leaves).movedim(1, -1).flatten(0, -2)
    rows = [flat(torch.autograd.grad(e, leaves, retain_graph=True, materialize_grads=True)) for e in z.flatten()]
    jacobian, p = torch.stack(rows).reshape(*z.shape, -1), z.detach().softmax(1)
    return torch.einsum("ncp,ncd,ndq->pq", jacobian, torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1), jacobian) / len(p)


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_reverse_mode(name, monkeypatch):
    make, backwards = CASES[name]
    asked, disagree = [], modes.disagree

    def counted(*args):
        asked.append(disagree(*args))
        return asked[-1]

    monkeypatch.setattr("geosam.predictive.recording.disagree", counted)
    bound = bind(make)
    for _ in range(2):
        predictive = geosam.observe(bound, (PredictiveDistribution(),))[PredictiveDistribution()]
        for seed in (4, 5):
            v = [draw(*p.shape, seed=seed, dtype=FLOAT64) for p in predictive.parameters]
            assert closeness(flat(predictive.fisher(v)), dense(predictive) @ flat(v)) < 1e-12
        with torch.no_grad():
            tree_map(lambda p: p.mul_(1.1), list(bound.model.parameters()))
    assert asked == [backwards]  # once a structure


def test_padding_has_one_fisher_in_rows_and_in_products():
    bound = bind(lambda: Words(True))
    u, v = ([draw(*p.shape, seed=s, dtype=FLOAT64) for p in bound.parameters] for s in (5, 6))
    rows, products = (
        Fisher(1e-2, rows_limit=10**4).at(bound),
        Fisher(1e-2, rows_limit=0, tolerance=1e-10, iterations=300).at(bound),
    )
    assert closeness(flat(rows.flat(v)), flat(products.flat(v))) < 1e-12
    assert closeness(flat(rows.sharp(u)), flat(products.sharp(u))) < 1e-7
    torch.testing.assert_close(vec.dot(u, products.flat(v)), vec.dot(v, products.flat(u)))


def test_where_nothing_tells_jv_products_are_refused_and_kl_is_not():
    bound = bind(lambda: ByHand(WrongOnce))
    predictive = geosam.observe(bound, (PredictiveDistribution(),))[PredictiveDistribution()]
    with pytest.raises(ValueError, match=r"neither forward mode nor reverse mode.*Mend the jvp"):
        predictive.fisher([torch.ones_like(p) for p in predictive.parameters])
    geosam.solve(KLExact(along=Euclidean()).at(bound), geosam.observe(bound).gradient, 0.1)
