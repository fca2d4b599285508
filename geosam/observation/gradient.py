"""The gradient alone, by one plain pass."""

from __future__ import annotations

from ..problem.gradient import backward
from .request import Lead, Look


def plain(look: Look) -> Lead:
    """Forward and backward of the model itself in a step, of its pure function otherwise."""
    bound, parameters = look.apart, look.parameters
    own = look.train and bound is look.bound  # with frozen statistics the buffers are updated already
    outputs = bound.call(bound.model) if own else bound.pure(parameters)(parameters, bound.x)
    return Lead(*backward(bound, outputs, parameters, look.train), outputs)
