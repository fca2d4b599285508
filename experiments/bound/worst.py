"""The largest training loss in the ellipsoid, by search."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data.split import Split
from .losses import flat, gradient, zero_one


def worst(gamma: float, model: nn.Module, split: Split, G: Tensor, noise: Tensor) -> float:
    """Of the zero-one loss: at θ, on the ellipsoid of radius gamma at random points, and along SAM's own direction."""
    theta, g = flat(model), gradient(model, split)
    ahead = torch.linalg.solve(G, g)
    ahead = gamma * ahead / (g @ ahead).sqrt().clamp_min(1e-300)
    sphere = gamma / (torch.einsum("mi,ij,mj->m", noise, G, noise).sqrt()[:, None]) * noise
    thetas = torch.cat([theta[None], theta + torch.linspace(0.1, 1, 10, dtype=theta.dtype)[:, None] * ahead, theta + sphere])
    return float(zero_one(model, thetas, split.x, split.y).max())
