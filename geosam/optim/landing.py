"""A solver's forward pass at θ + ε*, used again as that of the second pass."""

from __future__ import annotations

import torch

from ..core import Landing, Vectors
from ..problem import Bound
from ..problem.reading import leaves

_NOWHERE = "no landing: the model's backward pass cannot be led to other leaves"


def lands(bound: Bound, parameters: Vectors) -> bool:
    """Whether a forward pass of ``bound.pure`` with its graph may replace that of ``bound()``: nothing else observes that one.

    Not where it uses random numbers, updates buffers, a parameter has hooks or is not given, or there are several processes.
    """
    own = [p for p in bound.model.parameters() if p.requires_grad]
    hooked = any(p._backward_hooks or p._post_accumulate_grad_hooks for p in own)
    written = any(m.training and any(True for _ in m.buffers(recurse=False)) for m in bound.model.modules())
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    facts = bound.structure(parameters)
    seen = hooked or written or together or _NOWHERE in bound.memory or not facts.batched or facts.random
    return not seen and {*map(id, own)} == {*map(id, parameters)}


def arrive(bound: Bound, parameters: Vectors, landing: Landing) -> bool:
    """Set the gradients that ``bound()`` would set, from a forward pass that was kept; False where it cannot be used."""
    for p in bound.model.parameters():
        p.grad = None
    with torch.enable_grad():
        loss = bound.batch_loss(landing.outputs)
        own = leaves(loss, landing.outputs)  # a penalty's parameters, which sit at θ + ε*, and the loss's own
        kept = [(t, t.grad) for t in own]
        try:
            # to the leaves, so that each gradient is dense and separate: autograd may give one tensor to two of them
            torch.autograd.backward(bound.differentiated(loss), inputs=[*landing.parameters, *own])
        except RuntimeError:  # reentrant checkpoints allow no inputs=
            for t, grad in kept:
                t.grad = grad
            bound.memory[_NOWHERE] = True
            return False
    for held, leaf in zip(parameters, landing.parameters, strict=True):
        if held.grad is None:
            held.grad = leaf.grad
        elif leaf.grad is not None:
            held.grad += leaf.grad
    return True
