"""A check of the rows: their mean must be the batch gradient."""

from __future__ import annotations

import torch

from ..core import Vectors
from ..core import vectors as vec
from ..problem import Bound
from ..problem.gradient import backward
from ..problem.modules import structure
from ..problem.randomness import Replay
from .abstract import Engine
from .still import Still


def verify(
    bound: Bound, parameters: Vectors, engine: Engine, gradient: Vectors | None = None, replay: Replay | None = None
) -> None:
    """Once per parameters and modes: the rows' mean must be the batch gradient; otherwise something couples the samples.

    gradient: the mean, where it is known, of the pass at ``replay``. Where the pass uses random numbers both are computed
    again without them. A batch of one proves nothing about larger ones. Raises: ValueError.
    """
    key = ("verified", bound.n == 1, *structure(bound.model, parameters))
    if key in bound.memory:
        return
    still, replay = Still(), replay or bound.replay()
    with torch.enable_grad(), replay, still:
        _, true = backward(bound, bound.pure(parameters)(parameters, bound.x), parameters)
    if gradient is None or replay.used:
        with torch.enable_grad(), replay, still:
            gradient = engine.moments(bound, parameters).gradient
    size, gap = vec.norm(true), vec.norm(vec.add(gradient, true, -1.0))
    if torch.isfinite(gap) and gap > still.tolerance * size:
        raise ValueError(
            f"the mean of the per-sample gradients is not the batch gradient (relative gap {(gap / size).item():.2g}): the "
            "model or the loss lets samples meet, or their dimension is not the first. Such a problem has no per-sample "
            "gradients; use a metric that needs none: GradientMagnitude, Fisher, KLExact(along=GradientMagnitude())."
        )
    if torch.isfinite(gap) and size > 0:
        bound.memory[key] = True
