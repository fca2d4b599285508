"""A model that recomputes activations in its backward pass is differentiated where it was called, not where it stands."""

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import geosam
from geosam.engines import Func, Hooks
from geosam.metrics import (
    DiagonalEmpiricalFisher,
    DiagonalFisher,
    EmpiricalFisher,
    Euclidean,
    Fisher,
    GradientMagnitude,
    KLExact,
    KroneckerFisher,
    MonteCarlo,
)
from geosam.observation import PredictiveDistribution
from tests.networks import build, draw, labels


class Net(nn.Module):
    """Buffers: a BatchNorm in eval mode, without which parameters alone are exchanged. p: of the dropout inside.

    first: whether the first layer is checkpointed too.
    """

    def __init__(self, checkpointed: bool, buffers: bool, p: float = 0.0, reentrant: bool = False, first: bool = False) -> None:
        super().__init__()
        self.checkpointed, self.reentrant, self.first = checkpointed, reentrant, first
        self.stem, self.a, self.b, self.head = nn.Linear(4, 5), nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(5).eval() if buffers else nn.Identity()
        self.dropout = nn.Dropout(p)

    def inner(self, x: Tensor) -> Tensor:
        return torch.tanh(self.b(self.dropout(torch.tanh(self.a(self.norm(x))))))

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            x, inner = x.clone().requires_grad_(), lambda x: self.inner(self.stem(x))
        else:
            x, inner = self.stem(x), self.inner
        return self.head(checkpoint(inner, x, use_reentrant=self.reentrant) if self.checkpointed else inner(x))


def pair(buffers: bool, p: float = 0.0) -> list[geosam.problem.Bound]:
    models = [build(functools.partial(Net, c, buffers, p), dtype=torch.float64) for c in (False, True)]
    return [geosam.Problem(m, nn.CrossEntropyLoss()).on(draw(6, 4, dtype=torch.float64), labels(6)) for m in models]


def seeded(ask, bound: geosam.problem.Bound):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return ask(bound), torch.rand(())


def rows(bound: geosam.problem.Bound) -> list[Tensor]:
    return Hooks().rows(bound, bound.parameters)[1].vjp(torch.eye(6, dtype=torch.float64)[2])


def step(metric):
    def ask(bound: geosam.problem.Bound) -> list[Tensor]:
        optimizer = geosam.SAM(torch.optim.SGD(bound.model.parameters(), lr=0.1), metric, 0.5)
        for _ in range(2):
            optimizer.step(bound)
        return [p.detach() for p in bound.model.parameters()]

    return ask


def away(bound: geosam.problem.Bound) -> list[Tensor]:
    return [0.5 * torch.ones_like(p) for p in bound.parameters]


QUESTIONS = {
    "gradient around": lambda b: b.surface(wide=False).gradient(away(b)),
    "surface": lambda b: b.surface().gradient(away(b)),
    "Hessian": lambda b: b.surface().hessian()(away(b)),
    "KL": lambda b: geosam.observe(b, (PredictiveDistribution(),))[PredictiveDistribution()].kl_gradient(away(b)),
    "rows": rows,
    "products": lambda b: Fisher(0.1, rows_limit=0).at(b).flat(away(b)),
    "ascend": lambda b: geosam.ascend(b, Euclidean(), 1.0, 3).epsilon,
    "EmpiricalFisher": step(EmpiricalFisher(0.1)),
    "KLExact": step(KLExact()),
}


@pytest.mark.parametrize("buffers, p", [(False, 0.4), (True, 0.0)], ids=["dropout", "buffers"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_checkpointing_changes_nothing(question, buffers, p):
    plain, checkpointed = pair(buffers, p)
    for _ in range(2):  # before and after it is known that the model recomputes
        (true, after), (found, after_found) = (seeded(QUESTIONS[question], bound) for bound in (plain, checkpointed))
        torch.testing.assert_close(list(found), list(true))
        assert torch.equal(after, after_found)
    assert all(p.grad_fn is None for p in checkpointed.model.parameters())


@pytest.mark.parametrize("buffers", [False, True], ids=["", "buffers"])
def test_what_torch_func_cannot_differentiate_func_takes_sample_by_sample(buffers):
    _, checkpointed = pair(buffers)
    found = Func().rows(checkpointed, checkpointed.parameters)[1]
    for unit in torch.eye(6, dtype=torch.float64):
        torch.testing.assert_close(found.vjp(unit), Hooks().rows(checkpointed, checkpointed.parameters)[1].vjp(unit))


REENTRANT = {
    **{name: ask for name, ask in QUESTIONS.items() if name not in ("rows", "Hessian", "products")},
    "own surface": lambda b: geosam.Problem(b.model, lambda z, y: b.loss(z, y)).on(b.x, b.y).surface().gradient(away(b)),
    "Fisher": step(Fisher(0.1)),
    "Fisher, drawn": step(Fisher(0.1, sampling=MonteCarlo(2))),
    "DiagonalFisher": step(DiagonalFisher(0.1)),
    "DiagonalEmpiricalFisher": step(DiagonalEmpiricalFisher(0.1)),
    "KLExact along the gradient": step(KLExact(along=GradientMagnitude())),
}
REFUSED = {
    "Hessian": QUESTIONS["Hessian"],
    "products": QUESTIONS["products"],
    "damped products": step(Fisher(rows_limit=0)),
    "factors": lambda b: KroneckerFisher(0.1).at(b),
}


def reentrant(first: bool) -> list[geosam.problem.Bound]:
    models = [build(functools.partial(Net, c, False, reentrant=True, first=first), dtype=torch.float64) for c in (False, True)]
    return [geosam.Problem(m, nn.CrossEntropyLoss()).on(draw(6, 4, dtype=torch.float64), labels(6)) for m in models]


@pytest.mark.filterwarnings("ignore:None of the inputs")  # torch's, of passes without gradients
@pytest.mark.parametrize("first", [False, True], ids=["", "first layer"])
@pytest.mark.parametrize("question", REENTRANT)
def test_reentrant_checkpoints_change_nothing_where_backward_passes_are_enough(question, first):
    plain, checkpointed = reentrant(first)
    true, found = (seeded(REENTRANT[question], bound)[0] for bound in (plain, checkpointed))
    torch.testing.assert_close(list(found), list(true))


@pytest.mark.filterwarnings("ignore:None of the inputs")  # torch's, of passes without gradients
@pytest.mark.parametrize("first", [False, True], ids=["", "first layer"])
@pytest.mark.parametrize("question", REFUSED)
def test_reentrant_checkpoints_are_refused_where_they_are_not(question, first):
    with pytest.raises((RuntimeError, ValueError), match="use_reentrant=False"):
        REFUSED[question](reentrant(first)[1])
