"""The batch gradient by backward, with every ``.grad`` restored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core import Vectors


def backward(loss: Tensor, parameters: Vectors, model: nn.Module) -> list[Tensor]:
    """∇loss by ``backward`` (hooks of wrappers run, checkpoints work), dense; ``.grad`` of all parameters is restored."""
    kept = [(p, p.grad) for p in model.parameters()]
    for p, _ in kept:
        p.grad = None
    try:
        loss.backward()
        found = [p.grad.to_dense() if p.grad is not None and p.grad.is_sparse else p.grad for p in parameters]
        return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
    finally:
        for p, grad in kept:
            p.grad = grad
