"""Rows of models that torch.func cannot map over samples; models that do not run on one sample are refused by name."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import geosam
from geosam.engines import Auto, Func
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Fisher, KLExact
from geosam.observation import LabelDraws, PerSampleGradients, PredictiveDistribution
from geosam.sampling import Exact
from tests.networks import build, draw, labels


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = self.rnn(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))[0]
        return self.head(pad_packed_sequence(packed, True, total_length=x.shape[1])[0].mean(1))


class Product(torch.autograd.Function):
    """x Wᵀ, written before torch.func was."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w, g.T @ x


class Old(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(5, 4)), nn.Linear(5, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.head(torch.tanh(Product.apply(x.mean(1), self.weight)))


@pytest.mark.parametrize("engine", [Auto(), Func()], ids=repr)
@pytest.mark.parametrize("make", [Packed, Old])
def test_samples_are_taken_one_by_one_where_torch_func_has_no_rule(make, engine):
    model = build(make, dtype=torch.float64)
    x, lengths, y = draw(4, 6, 4, dtype=torch.float64), torch.tensor([6, 2, 4, 1]), labels(4)
    rows, drawn = PerSampleGradients(engine), LabelDraws(Exact(), engine, 100)
    seen = geosam.observe(geosam.Problem(model, nn.CrossEntropyLoss()).on((x, lengths), y), (rows, drawn))
    found = seen[drawn].rows
    assert found is not None
    outer = torch.zeros((), dtype=torch.float64)
    for i, unit in enumerate(torch.eye(4, dtype=torch.float64)):
        z = model(x[i : i + 1], lengths[i : i + 1])
        true = torch.autograd.grad(F.cross_entropy(z, y[i : i + 1]), list(model.parameters()), retain_graph=True)
        torch.testing.assert_close(seen[rows].vjp(unit), list(true))
        p = z.detach().softmax(1)[0]
        slopes = [torch.autograd.grad(z[0, c], list(model.parameters()), retain_graph=True) for c in range(3)]
        flat = torch.stack([torch.cat([t.flatten() for t in s]) for s in slopes])
        outer = outer + (flat.square().sum(1) * p).sum() - (p @ flat).square().sum()
    torch.testing.assert_close(found.gram().trace() / found.n, outer / 4)  # the trace of the Fisher information


class Graph(nn.Module):
    """Nodes of one graph, which look each other up."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()[torch.tensor([1, 2, 3, 4, 5, 0])])


def test_nodes_of_one_graph_are_refused_by_name_and_have_a_fisher_matrix_by_products():
    bound = geosam.Problem(build(Graph), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    with pytest.raises(ValueError, match=r"does not run on a sample alone.*IndexError.*GradientMagnitude"):
        EmpiricalFisher().at(bound)
    found = [Fisher(rows_limit=limit).at(bound) for limit in (1024, 0)]
    v = [torch.ones_like(p) for p in bound.parameters]
    torch.testing.assert_close(found[0].flat(v), found[1].flat(v))


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(torch.tanh(h - h.mean(0)))


def test_the_trace_of_meeting_samples_is_that_of_the_batch():
    bound = geosam.Problem(build(Centred, dtype=torch.float64), nn.CrossEntropyLoss()).on(
        draw(6, 4, dtype=torch.float64), labels(6)
    )
    predictive = geosam.observe(bound, (PredictiveDistribution(),))[PredictiveDistribution()]
    basis = torch.eye(sum(p.numel() for p in bound.parameters), dtype=torch.float64)
    sizes, total = [p.numel() for p in bound.parameters], 0.0
    for row in basis:
        v = [t.view_as(p) for t, p in zip(row.split(sizes), bound.parameters, strict=True)]
        total += sum((a * b).sum().item() for a, b in zip(predictive.fisher(v), v, strict=True))
    assert predictive.mean_diagonal().item() == pytest.approx(total / len(basis), rel=1e-9)


def test_complex_parameters_are_refused_by_name():
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 2, dtype=torch.cfloat))

        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.irfft(torch.fft.rfft(x) @ self.weight, n=3)

    with pytest.raises(ValueError, match=r"weight: complex parameters are not supported.*view_as_complex"):
        EmpiricalFisher().at(geosam.Problem(Spectral(), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool = True) -> None:
        super().__init__()
        self.first, self.last, self.reentrant = nn.Linear(4, 5), nn.Linear(5, 3), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.last, self.first(x).tanh(), use_reentrant=self.reentrant)


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher(), KLExact()], ids=lambda m: type(m).__name__)
def test_reentrant_checkpoints_are_taken_sample_by_sample(metric):
    ends = []
    for reentrant in (True, False):
        model = build(partial(Checkpointed, reentrant), dtype=torch.float64)
        opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
        for seed in range(2):
            x = draw(6, 4, seed=seed, dtype=torch.float64)
            opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, labels(6)))
        ends.append([p.detach() for p in model.parameters()])
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-15)
