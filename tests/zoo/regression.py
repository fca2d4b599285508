"""Losses of real numbers: Gaussian, Laplace, Poisson, robust, quantiles, mixtures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, MixtureSameFamily, Normal, Poisson
from torch.nn import functional as F

from tests.zoo.layers import N, Net, draw, mlp
from tests.zoo.line import NO_LIKELIHOOD, Line, Setting


def real(loss: Any, out: int = 2, likelihood: Any = None, y: Tensor | None = None) -> Setting:
    return Setting(mlp(3, out), loss, draw(N, 3), draw(N, 2, seed=4) if y is None else y, likelihood)


def two_heads(loss: Any) -> Setting:
    """A mean and a variance, as a tuple."""
    net = Net(
        lambda s, x: (s.mean(s.body(x)), F.softplus(s.spread(s.body(x))) + 0.1),
        body=mlp(3, 3),
        mean=nn.Linear(3, 1),
        spread=nn.Linear(3, 1),
    )
    return Setting(net, loss, draw(N, 3), draw(N, 1, seed=4))


def heteroscedastic(z: Tensor) -> Distribution:
    """N(m, s²) from (m, log s)."""
    return Normal(z[:, 0], z[:, 1].exp())


def negative_log(likelihood: Any) -> Any:
    return lambda z, y: -likelihood(z).log_prob(y).mean()


def counts() -> Tensor:
    return torch.tensor([0.0, 2.0, 1.0, 4.0]).reshape(N, 1).to(torch.get_default_dtype())


def quantile(z: Tensor, y: Tensor) -> Tensor:
    """Three quantiles of one number."""
    levels = z.new_tensor([0.1, 0.5, 0.9])
    gap = y - z
    return torch.maximum(levels * gap, (levels - 1) * gap).mean()


def mixture(z: Tensor) -> Distribution:
    """Two Gaussians, weights, means and log scales in a row."""
    w, m, s = z.chunk(3, 1)
    return MixtureSameFamily(torch.distributions.Categorical(logits=w), Normal(m, s.exp()))


def rate(z: Tensor) -> Distribution:
    return Poisson(z.exp())


def laplace(z: Tensor) -> Distribution:
    return Laplace(z, torch.ones((), dtype=z.dtype))


def vector(z: Tensor) -> Distribution:
    """One distribution of two entries."""
    return Independent(Normal(z, torch.full_like(z, 0.7)), 1)


def both(z: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    mean, variance = z
    return F.gaussian_nll_loss(mean, y, variance)


def columns() -> Tensor:
    return draw(N, seed=4)


LINES = [
    Line("perceptron, squared error", lambda: real(nn.MSELoss())),
    Line(
        "perceptron, squared error against a wrong shape",
        lambda: real(nn.MSELoss(), out=1, y=draw(N)),
        {"all": "broadcasting them would change"},
    ),
    Line("perceptron, absolute error", lambda: real(nn.L1Loss()), NO_LIKELIHOOD),
    Line("perceptron, absolute error with its Laplace likelihood", lambda: real(nn.L1Loss(), likelihood=laplace)),
    Line("perceptron, Huber", lambda: real(nn.HuberLoss()), NO_LIKELIHOOD),
    Line("perceptron, smooth absolute error", lambda: real(nn.SmoothL1Loss(beta=0.5)), NO_LIKELIHOOD),
    Line("perceptron, log-cosh", lambda: real(lambda z, y: (z - y).cosh().log().mean()), NO_LIKELIHOOD),
    Line("perceptron, quantiles", lambda: real(quantile, 3, y=draw(N, 1, seed=4)), NO_LIKELIHOOD),
    Line("perceptron, Gaussian with its variance", lambda: real(negative_log(heteroscedastic), 2, heteroscedastic, columns())),
    Line("perceptron, one Gaussian of two entries", lambda: real(negative_log(vector), 2, vector)),
    Line("two heads, Gaussian NLL", lambda: two_heads(both), NO_LIKELIHOOD),
    Line("perceptron, Poisson", lambda: real(nn.PoissonNLLLoss(), 1, rate, counts())),
    Line("perceptron, Poisson without a likelihood", lambda: real(nn.PoissonNLLLoss(), 1, y=counts()), NO_LIKELIHOOD),
    Line(
        "perceptron, mixture of Gaussians",
        lambda: real(negative_log(mixture), 6, mixture, columns()),
        {"distribution": "has no KL between MixtureSameFamily"},
    ),
    Line(
        "perceptron, mixture of Gaussians without a likelihood",
        lambda: real(negative_log(mixture), 6, y=columns()),
        NO_LIKELIHOOD,
    ),
]
