"""An observation from a plain PyTorch closure: the batch gradient and the loss."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from .observation import Observation


def observe_closure(closure: Callable[[], Any], parameters: Vectors, names: Sequence[str] | None) -> Observation:
    """Run the closure once; a None gradient counts as zero. Raises as :func:`run`."""
    loss = run(closure, parameters)
    gradient = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    if any(g.layout != torch.strided for g in gradient):
        gradient = vec.map(Tensor.to_dense, gradient)
    return Observation(parameters, gradient, loss, names)


def run(closure: Callable[[], Any], parameters: Vectors) -> Tensor:
    """Run the closure with gradients enabled; return its loss, detached.

    Raises: TypeError if it is not callable or returns no loss; RuntimeError if it never called backward.
    """
    if not callable(closure):
        raise TypeError(f"step() needs a closure or problem.on(x, y), got {type(closure).__name__}")
    before = [None if p.grad is None else (weakref.ref(p.grad), p.grad._version) for p in parameters]
    with torch.enable_grad():
        loss = closure()
    if loss is None:
        raise TypeError("the closure returned None; it must return the loss (zero_grad, forward, backward, return loss)")
    if all(_untouched(p, seen) for p, seen in zip(parameters, before, strict=True)):
        raise RuntimeError("the closure left every gradient as it was: it must zero gradients and call loss.backward()")
    return torch.as_tensor(loss).detach()


def _untouched(parameter: Tensor, seen: tuple[Any, int] | None) -> bool:
    if parameter.grad is None:
        return True
    return seen is not None and parameter.grad is seen[0]() and parameter.grad._version == seen[1]
