"""What the engine that looks into layers cannot map over samples, or does not see at all, it leaves to Func."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.engines import Hooks
from tests.engines.hooks.test_engine import same_rows
from tests.networks import build, draw, labels


class Mapped(nn.Module):
    """A layer that the model itself maps over the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.func.vmap(lambda t: torch.tanh(self.inner(t)))(x))


class Embedded(nn.Module):
    def __init__(self, **how: object) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(3, 4, **how), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x).mean(1))


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Bilinear(4, 4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x, x.cos()))


def tracked() -> nn.Module:
    norm = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
    return nn.Sequential(nn.Linear(5, 5), norm, nn.Flatten(), nn.Linear(20, 3))


@pytest.mark.parametrize(
    "make, x, forms",
    [
        (Mapped, draw(6, 4), {"Func", "factors"}),
        (lambda: Embedded(max_norm=0.5), labels(30).view(6, 5), {"Func", "factors"}),
        (tracked, draw(6, 4, 5), {"Func", "rows", "factors"}),
        (lambda: Embedded(sparse=True), labels(30).view(6, 5), {"rows", "factors"}),
        (Bilinear, draw(6, 4), {"rows", "factors"}),
    ],
    ids=["vmap", "max_norm", "running statistics", "sparse", "bilinear"],
)
def test_what_cannot_be_mapped_is_found_out_and_left_to_func(make, x, forms):
    model = build(make)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, labels(6))
    rows = Hooks().rows(bound, bound.parameters)[1]
    for i, unit in enumerate(torch.eye(6)):
        alone = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), bound.y[i : i + 1]), bound.parameters)
        torch.testing.assert_close(rows.vjp(unit), [g.to_dense() for g in alone], rtol=1e-4, atol=1e-6)
    assert {choice.form for choice in Hooks().explain(bound, bound.parameters)} == forms
    geosam.metrics.DiagonalEmpiricalFisher(engine=Hooks()).at(bound)


class Hidden(nn.Linear):
    """Nobody sees what it does."""

    def forward(self, x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return super().forward(x)


def test_parameters_whose_uses_are_not_seen_are_not_taken_for_unused():
    model = build(lambda: nn.Sequential(Hidden(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    same_rows(bound)
    assert {choice.form for choice in Hooks().explain(bound, bound.parameters)} == {"Func"}
