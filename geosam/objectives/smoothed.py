"""VaSSO's objective."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import Vectors, check_decay
from ..observation import Objective, Observation, Remembering, State
from .average import averaged, past


@dataclass(frozen=True)
class Smoothed(Remembering[Vectors], Objective):
    """c = d_t = decay · d_{t−1} + (1 − decay) · g_t, d_0 = g_0: an average of batch gradients with less noise.

    decay in [0, 1); 0 is SAM. A gradient that is not finite does not enter the average. State: {"average": tensors}.
    Source: Li & Giannakis 2023 (VaSSO), whose θ is 1 − decay. Raises: ValueError for decay outside [0, 1).
    """

    decay: float = 0.9

    def __post_init__(self) -> None:
        check_decay(self.decay, "; 0 gives the plain gradient")

    def step(self, observation: Observation, state: State) -> tuple[Vectors, State]:
        """(d_t, {"average": d_t})."""
        g = observation.gradient
        average, kept = averaged(g, past(state, "average", g), self.decay)
        return average, {"average": kept}
