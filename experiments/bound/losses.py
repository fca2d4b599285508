"""A model's losses as functions of one vector of parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..data.split import Split

LOSS = nn.CrossEntropyLoss()


def flat(model: nn.Module) -> Tensor:
    """θ as one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def outputs(model: nn.Module, theta: Tensor, x: Tensor) -> Tensor:
    """Logits at other parameters."""
    names, sizes = zip(*((name, p) for name, p in model.named_parameters()), strict=True)
    parts = [part.view_as(p) for part, p in zip(theta.split([p.numel() for p in sizes]), sizes, strict=True)]
    return functional_call(model, dict(zip(names, parts, strict=True)), (x,))


def gradient(model: nn.Module, split: Split) -> Tensor:
    """Of the cross-entropy on the whole training set, as one vector."""
    loss = LOSS(model(split.x), split.y)
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


def zero_one(model: nn.Module, thetas: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The share of wrong answers at each row of thetas, (m, k) → (m,)."""
    with torch.no_grad():
        return torch.stack([(outputs(model, theta, x).argmax(1) != y).double().mean() for theta in thetas])
