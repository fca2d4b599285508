"""Expectations over labels by a sum over nodes: exact but for Poisson's tail, which is below 1e-15."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Laplace, Normal, Poisson


def nodes(p: Distribution) -> tuple[Tensor, Tensor]:
    """(labels, their weights), each [K, *batch_shape]."""
    shape = p.batch_shape
    if isinstance(p, Categorical | Bernoulli | Poisson):
        count = p.probs.shape[-1] if isinstance(p, Categorical) else 2 if isinstance(p, Bernoulli) else 80
        values = torch.arange(count, dtype=torch.float64).reshape(-1, *[1] * len(shape)).expand(-1, *shape)
        return values, p.log_prob(values).exp()
    if isinstance(p, Normal):  # a score is a polynomial
        x, w = (torch.from_numpy(t) for t in np.polynomial.hermite.hermgauss(8))
        values, weights = x * math.sqrt(2), w / math.sqrt(math.pi)
    elif isinstance(p, Laplace):  # a polynomial on each side
        x, w = (torch.from_numpy(t) for t in np.polynomial.laguerre.laggauss(8))
        values, weights = torch.cat([-x, x]), torch.cat([w, w]) / 2
    else:
        raise NotImplementedError(type(p).__name__)
    column = [-1, *[1] * len(shape)]
    return p.loc + p.scale * values.reshape(column), weights.reshape(column).expand(-1, *shape)


def information(likelihood: Callable[[Tensor], Distribution], z: Tensor) -> Tensor:
    """E[∇log p ∇log pᵀ] in one sample's outputs z of shape [1, ...], averaged over batch_shape, [E, E]."""
    p = likelihood(z)
    base = p.base_dist if isinstance(p, Independent) else p
    values, weights = (t.detach() for t in nodes(base))

    def scores(z: Tensor) -> Tensor:
        q = likelihood(z)
        return (q.base_dist if isinstance(q, Independent) else q).log_prob(values).reshape(-1)

    found = torch.autograd.functional.jacobian(scores, z).reshape(values.numel(), -1)
    found = torch.where(weights.reshape(-1, 1) > 0, found, 0.0)
    return found.T @ (weights.reshape(-1, 1) * found) / max(1, p.batch_shape.numel())


def divergence(new: Distribution, old: Distribution) -> Tensor:
    """KL(new ‖ old), averaged over batch_shape."""
    count = max(1, new.batch_shape.numel())
    if isinstance(new, Independent) and isinstance(old, Independent):
        new, old = new.base_dist, old.base_dist
    if isinstance(new, Laplace):  # log p has a kink, at the median of the old one
        assert isinstance(old, Laplace)
        shift = (new.loc - old.loc).abs()
        each = (old.scale / new.scale).log() + shift / old.scale + new.scale / old.scale * (-shift / new.scale).exp() - 1
        return each.sum() / count
    values, weights = nodes(new)
    each = weights * (new.log_prob(values) - old.log_prob(values))
    return torch.where(weights > 0, each, 0.0).sum() / count
