"""The batch gradient by backward, with every ``.grad`` restored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core import Vectors
from .batch import Batch
from .reading import leaves


def backward(batch: Batch, outputs: Any, parameters: Vectors, train: bool = False) -> tuple[Tensor, list[Tensor]]:
    """(L, ∇L) by ``backward`` from the outputs (hooks of wrappers run, checkpoints work), dense; L is detached.

    The ``.grad`` of all parameters, the loss's own among them, is restored. train: the loss may write to buffers.
    """
    loss = batch.batch_loss(outputs) if train else batch.quiet_loss(outputs)
    kept = [(p, p.grad) for p in (*batch.model.parameters(), *leaves(loss, outputs))]
    for p, _ in kept:
        p.grad = None
    try:
        loss.backward()
        found = [p.grad.to_dense() if p.grad is not None and p.grad.is_sparse else p.grad for p in parameters]
        return loss.detach(), [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]
    finally:
        for p, grad in kept:
            p.grad = grad
