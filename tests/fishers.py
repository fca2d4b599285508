"""What the tests of the Fisher family share: dense float64 forms, problems, targets, likelihoods."""

import torch
from torch import nn
from torch.distributions import Categorical, Normal, Poisson

import geosam
from geosam.core import vectors as vec
from geosam.engines import Func, Hooks
from geosam.problem.likelihoods import bernoulli, categorical, gaussian
from geosam.rows import Pulled
from tests.networks import build, cnn, draw, labels, mlp

FLOAT64 = torch.float64

TIGHT = {"tolerance": 1e-13, "iterations": 500}
WAYS = [{}, {"rows_limit": 0, **TIGHT}, {"engine": Func()}, {"engine": Hooks()}]
LIKELIHOODS = {
    "softmax": categorical,
    "logits": bernoulli,
    "N(f, ½)": gaussian,
    "tempered": lambda z: Categorical(logits=z / 3),
    "Poisson": lambda z: Poisson(z.exp()),
    "N(m, s)": lambda z: Normal(z[:, 0], z[:, 1].exp()),
}


def rows_of(seen):
    """The rows whose mean the gradient is."""
    assert isinstance(seen.gradient, Pulled)
    return seen.gradient.rows


def flat(v):
    return torch.cat([t.detach().double().reshape(-1) for t in v])


def dense(norm, like):
    """G, column by column."""
    eye = torch.eye(sum(p.numel() for p in like), dtype=FLOAT64)
    return torch.stack([flat(norm.flat(vec.unflatten(e, like))) for e in eye], 1)


def closeness(got, want):
    return float((got - want).norm() / want.norm())


def targets(loss, n):
    if isinstance(loss, nn.CrossEntropyLoss):
        return labels(n)
    return draw(n, 3, dtype=FLOAT64) if isinstance(loss, nn.MSELoss) else (draw(n, 3, dtype=FLOAT64) > 0).double()


def bind(loss=None, make=mlp, n=5):
    loss = nn.CrossEntropyLoss() if loss is None else loss
    shape = (2, 6, 6) if make is cnn else (4,)
    return geosam.Problem(build(make, dtype=FLOAT64), loss).on(draw(n, *shape, dtype=FLOAT64), targets(loss, n))


def epsilon(metric, bound, rho=0.1):
    seen = geosam.observe(bound, metric.needs)
    return flat(geosam.solve(metric.at(seen), seen.gradient, rho).epsilon)


def rand_labels(n, generator):
    """The labels that a generator gives, by inversion of the distribution function."""

    def drawn(p):
        threshold = torch.rand(n, len(p), generator=generator, dtype=FLOAT64)
        return torch.stack([torch.searchsorted(p.cumsum(1), t.unsqueeze(1), right=True).squeeze(1) for t in threshold])

    return drawn


def dense_diagonal(metric, bound):
    norm = metric.at(bound)
    return torch.cat([norm.entries(i).reshape(-1) for i in range(len(norm.like))])
