"""Models that compute the loss themselves, as language models do: rows are those of the model on each sample alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import metrics
from geosam.engines import Auto, Func
from geosam.observation import MeanSquares
from tests.networks import build, draw, labels

X, Y = draw(6, 3, 4, dtype=torch.float64), labels(18).view(6, 3)
SHORT = torch.where(torch.arange(3) > torch.arange(6)[:, None], -100, Y)


class Lossy(nn.Module):
    """x [n, T, 4], y [n, T] → the mean loss over all tokens that count, and the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        logits = self.inner(x).transpose(1, 2)
        return {"loss": F.cross_entropy(logits, y), "logits": logits}


class Warm(nn.Module):
    """Outputs beside a learnt number, which belongs to no sample."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.heat = nn.Linear(4, 3), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"heat": self.heat.exp(), "logits": self.inner(x).transpose(1, 2)}


class Bare(nn.Module):
    """The same without the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.inner(x).transpose(1, 2)


def of_logits(outputs: dict[str, Tensor]) -> torch.distributions.Categorical:
    return torch.distributions.Categorical(logits=outputs["logits"].transpose(1, 2))


def given(outputs: dict[str, Tensor], _: Tensor | None) -> Tensor:
    return outputs["loss"]


def heated(outputs: dict[str, Tensor], y: Tensor) -> Tensor:
    return F.cross_entropy(outputs["heat"] * outputs["logits"], y)


def by_hand(model, loss):
    rows = [
        torch.autograd.grad(loss(model(x, y), y), list(model.parameters())) for x, y in zip(X.split(1), Y.split(1), strict=True)
    ]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


@pytest.mark.parametrize("engine", [Auto(), Func()], ids=["Auto", "Func"])
@pytest.mark.parametrize(("net", "loss", "y"), [(Lossy, given, Y), (Lossy, given, None), (Warm, heated, Y)])
def test_rows_and_squares_are_those_of_single_samples(net, loss, y, engine):
    model = build(net, dtype=torch.float64)
    bound, rows = geosam.Problem(model, loss).on({"x": X, "y": Y}, y), by_hand(model, loss)
    found = metrics.EmpiricalFisher(0.1, engine=engine).at(bound).flat([torch.ones_like(p) for p in model.parameters()])
    expected = rows.T @ rows.sum(1) / len(rows) + 0.1
    torch.testing.assert_close(torch.cat([f.flatten() for f in found]), expected, rtol=1e-12, atol=0)
    squares = geosam.observe(bound, metrics.DiagonalEmpiricalFisher(engine=engine).needs)[MeanSquares(engine)]
    torch.testing.assert_close(torch.cat([s.flatten() for s in squares]), rows.square().mean(0), rtol=1e-12, atol=0)


def test_a_mean_over_unlike_numbers_of_tokens_is_refused_on_any_batch():
    problem = geosam.Problem(build(Lossy, dtype=torch.float64), given)
    for _ in range(12):
        metrics.EmpiricalFisher().at(problem.on({"x": X, "y": Y}, Y))
    with pytest.raises(ValueError, match=r"loss that the model computes is no mean over samples.*return its outputs"):
        metrics.EmpiricalFisher().at(problem.on({"x": X, "y": SHORT}, SHORT))


def test_a_step_is_that_of_the_model_that_returns_its_logits():
    ends = []
    for net, loss, likelihood in ((Lossy, given, of_logits), (Bare, F.cross_entropy, None)):
        model = build(net, dtype=torch.float64)
        opt = geosam.SAM(torch.optim.SGD(model.parameters(), 0.1), metrics.KLExact(), rho=0.01)
        opt.step(geosam.Problem(model, loss, likelihood).on({"x": X, "y": Y}, Y))
        ends.append([p.detach() for p in model.parameters()])
    torch.testing.assert_close(*ends, rtol=1e-9, atol=0)
