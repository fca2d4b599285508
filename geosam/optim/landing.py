"""A solver's forward pass at θ + ε*, used again as that of the second pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import Landing, Vectors
from ..problem import Bound


def lands(bound: Bound, parameters: Vectors) -> bool:
    """Whether a forward pass of ``bound.pure`` with its graph may replace that of ``bound()``: nothing else observes that one.

    Not where it uses random numbers, updates buffers, a parameter has hooks or is not given, or there are several processes.
    """
    own = [p for p in bound.model.parameters() if p.requires_grad]
    hooked = any(p._backward_hooks or p._post_accumulate_grad_hooks for p in own)
    written = any(m.training and any(True for _ in m.buffers(recurse=False)) for m in bound.model.modules())
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    facts = bound.structure(parameters)
    seen = hooked or written or together or not facts.batched or facts.random
    return not seen and {*map(id, own)} == {*map(id, parameters)}


def arrive(bound: Bound, parameters: Vectors, landing: Landing) -> Tensor:
    """Set the gradients that ``bound()`` would set, from a forward pass that was kept; its loss."""
    for p in bound.model.parameters():
        p.grad = None
    with torch.enable_grad():
        loss = bound.batch_loss(landing.outputs)
        # to the leaves, so that each gradient is dense and separate: autograd may give one tensor to two of them. Not with
        # inputs=: reentrant checkpoints leave out the parameters that they use, silently where nothing else leads to them
        bound.differentiated(loss).backward()
    for held, leaf in zip(parameters, landing.parameters, strict=True):
        if held.grad is None:
            held.grad = leaf.grad
        elif leaf.grad is not None:
            held.grad += leaf.grad
    return loss.detach()
