"""VaSSO's objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import _vectors as vec
from .._abstract import Objective, State
from .._vectors import Vectors
from ..evidence import Evidence


@dataclass(frozen=True)
class Smoothed(Objective):
    """c = d_t = decay · d_{t−1} + (1 − decay) · g_t, d_0 = g_0: an average of batch gradients with less noise.

    decay in [0, 1); 0 is SAM. A gradient that is not finite does not enter the average. State: {"average": tensors}.
    Source: Li & Giannakis 2023 (VaSSO), whose θ is 1 − decay. Raises: ValueError for decay outside [0, 1).
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}; 0 gives the plain gradient")

    def local(self, evidence: Evidence) -> Vectors:
        """g: without a past the average is the gradient."""
        return evidence.gradient

    def step(self, evidence: Evidence, state: State) -> tuple[Vectors, State]:
        """(d_t, {"average": d_t})."""
        g = list(evidence.gradient)
        last = state.get("average")
        if last is not None and [t.shape for t in last] != [t.shape for t in g]:
            last = None  # other parameters than before: a new average
        # cloned, because the second pass overwrites the memory of the first one's gradient
        average = vec.map(torch.clone, g) if last is None else vec.lerp(last, g, 1 - self.decay)
        kept = vec.select(vec.finite(g), average, vec.zeros_like(g) if last is None else last)
        return average, {"average": kept}
