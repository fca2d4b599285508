"""The gradient alone, by one plain pass."""

from __future__ import annotations

from ..problem.gradient import backward, gradient
from .request import Lead, Look


def plain(look: Look) -> Lead:
    """Forward and backward of the model itself in a step, of its pure function otherwise."""
    bound, parameters = look.apart, look.parameters
    if not look.train or bound is not look.bound:  # with frozen statistics the buffers are updated already
        loss, outputs, found = gradient(bound, parameters)
        return Lead(loss, found, outputs)
    look.itself = True
    outputs = bound.call(bound.model)
    return Lead(*backward(bound, outputs, parameters), outputs)
