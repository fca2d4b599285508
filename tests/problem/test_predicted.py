"""A likelihood reads the outputs alone, or is refused."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

import geosam
from geosam import metrics
from tests.networks import draw

X, Y = draw(5, 3, dtype=torch.float64), draw(5, 2, seed=2, dtype=torch.float64)


class Spread(nn.Module):
    """A mean by a network, one deviation a column by a parameter."""

    def __init__(self, together=False):
        super().__init__()
        torch.manual_seed(0)
        self.mean, self.together = nn.Linear(3, 2, dtype=torch.float64), together
        self.log_std = nn.Parameter(torch.tensor([0.1, -0.2], dtype=torch.float64))

    def forward(self, x):
        mean = self.mean(x)
        self.left = mean.exp()
        return torch.stack([mean, self.log_std.expand_as(mean)], -1) if self.together else mean


def problem(model, likelihood):
    loss = lambda z, y: -likelihood(z).log_prob(y).mean()  # noqa: E731
    return geosam.Problem(model, loss, likelihood).on(X, Y)


@pytest.mark.parametrize(
    "metric",
    [metrics.KLExact(along=metrics.Euclidean()), metrics.Fisher(), metrics.DiagonalFisher(), metrics.KroneckerFisher()],
    ids=lambda metric: type(metric).__name__,
)
@pytest.mark.parametrize("detached", [False, True])
def test_a_parameter_in_the_likelihood_is_refused(metric, detached):
    model = Spread()
    read = (lambda: model.log_std.detach()) if detached else (lambda: model.log_std)
    with pytest.raises(ValueError, match="the likelihood reads log_std besides the outputs"):
        metric.at(problem(model, lambda z: Normal(z, read().exp())))


def test_what_a_pass_left_in_the_model_is_refused():
    model = Spread()
    model(X)
    with pytest.raises(ValueError, match="reads left besides"):
        metrics.Fisher().at(problem(model, lambda z: Normal(z, model.left)))


def test_constants_and_other_parameters_may_be_read():
    model = Spread()
    model.log_std.requires_grad_(False)
    metrics.Fisher().at(problem(model, lambda z: Normal(z, model.log_std.exp())))


def test_the_cure_gives_the_whole_divergence():
    model = Spread(together=True)
    divergence = metrics.KLExact(along=metrics.Euclidean()).at(problem(model, lambda z: Normal(z[..., 0], z[..., 1].exp())))
    epsilon = [torch.full_like(p, 0.1) for p in model.parameters()]
    with torch.no_grad():
        old = model(X)
        for p, e in zip(model.parameters(), epsilon, strict=True):
            p.add_(e)
        new = model(X)
        for p, e in zip(model.parameters(), epsilon, strict=True):
            p.sub_(e)
    new, old = (Normal(z[..., 0], z[..., 1].exp()) for z in (new, old))
    torch.testing.assert_close(divergence(epsilon), kl_divergence(new, old).mean())
