"""The batch gradient by backward: of the model itself in a training step, of private leaves otherwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from .batch import Batch
from .reading import leaves


def backward(batch: Batch, outputs: Any, parameters: Vectors) -> tuple[Tensor, list[Tensor]]:
    """(L, ∇L) from the outputs of the model's own parameters, in a training step; L is detached."""
    loss = batch.batch_loss(outputs)
    found = filled(gradients(batch.differentiated(loss), outputs, parameters, list(batch.model.parameters())), parameters)
    return loss.detach(), found if batch.scale == 1 else vec.scale(found, 1 / batch.scale)


def gradient(batch: Batch, parameters: Vectors) -> tuple[Tensor, Any, list[Tensor]]:
    """(L, outputs, ∇L) by private leaves: no ``.grad`` of a parameter is touched."""
    values = private(parameters)
    outputs, copy = batch.joint(parameters)(values, batch.x)
    loss = batch.quiet_loss(outputs, values, copy=copy)
    return loss.detach(), outputs, filled(gradients(loss, outputs, values), values)


def private(parameters: Vectors) -> list[Tensor]:
    """Leaves that share the parameters' memory and their hooks on gradients."""
    values = [p.detach().requires_grad_() for p in parameters]
    for p, leaf in zip(parameters, values, strict=True):
        for hook in (p._backward_hooks or {}).values():
            leaf.register_hook(hook)
    return values


def gradients(loss: Tensor, outputs: Any, values: Vectors, others: Vectors = ()) -> list[Tensor | None]:
    """∇loss by ``backward`` (hooks of wrappers run, checkpoints work), dense; None for values that are not reached.

    ``.grad`` is restored: of ``others``, of the values, and of what the loss reads besides the outputs.
    """
    kept = [(t, t.grad) for t in (*others, *values, *leaves(loss, outputs))]
    for t, _ in kept:
        t.grad = None
    try:
        loss.backward()
        return [t.grad.to_dense() if t.grad is not None and t.grad.is_sparse else t.grad for t in values]
    finally:
        for t, grad in kept:
            t.grad = grad


def filled(found: list[Tensor | None], like: Vectors) -> list[Tensor]:
    """With zeros where nothing was found."""
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, like, strict=True)]
