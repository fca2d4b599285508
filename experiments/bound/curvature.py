"""The metrics as dense matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from geosam import Metric, Relative
from geosam.metrics import Euclidean, Fisher, GradientMagnitude

from ..data.split import Split
from .losses import gradient, outputs


def fisher(model: nn.Module, theta: Tensor, x: Tensor) -> Tensor:
    """(1/n) Σ Jᵀ(diag p − ppᵀ)J, undamped."""
    with torch.no_grad():
        J = vmap(jacrev(lambda t, row: outputs(model, t, row[None])[0]), (None, 0))(theta, x)
        p = outputs(model, theta, x).softmax(1)
        centred = J - torch.einsum("nc,nck->nk", p, J)[:, None]
        return torch.einsum("nc,nck,ncl->kl", p, centred, centred) / len(x)


def dense(metric: Metric, model: nn.Module, split: Split, F: Tensor) -> Tensor:
    """G at θ on the whole training set. Raises: TypeError for a metric not known here."""
    k = len(F)
    identity = torch.eye(k, dtype=F.dtype)
    if isinstance(metric, Euclidean):
        return identity
    if isinstance(metric, GradientMagnitude):
        return torch.diag(metric.damping + metric.eta * gradient(model, split) ** 2)
    if isinstance(metric, Fisher):
        ridge = metric.damping.ratio * F.trace() / k if isinstance(metric.damping, Relative) else metric.damping
        return F + ridge * identity
    raise TypeError(f"no dense form of {metric!r} here; add it to dense(), or use Euclidean, GradientMagnitude or Fisher")
