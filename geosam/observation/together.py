"""An observation of several micro-batches as one batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..problem import Bound, Together
from .observation import Observation
from .observe import observe
from .request import Needs


def observe_together(batches: Bound | Together, needs: Needs, who: str) -> Observation:
    """What :func:`observe` gives for the joined batch, in a training step.

    The gradient alone is summed over micro-batches, one in memory at a time; all else is taken from the joined batch.
    """
    if needs or isinstance(batches, Bound) or len(batches.parts) == 1:
        return observe(batches.joined, needs, who, train=True)
    gradient: Vectors | None = None
    losses: list[Tensor] = []
    for part, share in zip(batches.parts, batches.shares, strict=True):
        seen = observe(part, (), who, train=True)
        gradient = vec.scale(seen.gradient, share) if gradient is None else vec.axpy(gradient, share, seen.gradient)
        losses.append(seen.loss * share.to(seen.loss))
    assert gradient is not None
    return Observation(seen.parameters, gradient, torch.stack(losses).sum(), seen.names)
