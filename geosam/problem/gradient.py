"""The batch gradient by backward, with every ``.grad`` restored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core import Vectors
from .batch import Batch
from .reading import leaves


def backward(batch: Batch, outputs: Any, parameters: Vectors, train: bool = False) -> tuple[Tensor, list[Tensor]]:
    """(L, ∇L) from the outputs; L is detached. train: the loss may write to buffers."""
    loss = batch.batch_loss(outputs) if train else batch.quiet_loss(outputs)
    found = gradients(batch, loss, outputs, parameters)
    return loss.detach(), [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def gradients(batch: Batch, loss: Tensor, outputs: Any, parameters: Vectors) -> list[Tensor | None]:
    """∇loss by ``backward`` (hooks of wrappers run, checkpoints work), dense; None for parameters that are not reached.

    The ``.grad`` of all parameters, those that the loss reads besides the outputs among them, is restored.
    """
    kept = [(p, p.grad) for p in (*batch.model.parameters(), *leaves(loss, outputs))]
    for p, _ in kept:
        p.grad = None
    try:
        loss.backward()
        return [p.grad.to_dense() if p.grad is not None and p.grad.is_sparse else p.grad for p in parameters]
    finally:
        for p, grad in kept:
            p.grad = grad
