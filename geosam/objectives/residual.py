"""F-SAM's objective."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import Vectors, check_decay, check_number
from ..core import vectors as vec
from ..observation import Objective, Observation, Remembering, State
from .average import any_of, averaged, past


@dataclass(frozen=True)
class Residual(Remembering[Vectors], Objective):
    """c = g_t − σ m_t with m_t = decay · m_{t−1} + (1 − decay) · g_t: what is left of the batch gradient without its mean.

    m_0 = g_0, and c = g_0 in a parameter's first step. sigma ≥ 0; 0 is SAM. At σ = 1 the residual is
    decay · (g_t − m_{t−1}), so that ε* is the same whether the average is updated before it is subtracted, as in the paper, or
    after, as in the authors' code; for another σ the code's σ' stands for σ = σ'/(decay + σ'(1 − decay)) here. Where the batch
    repeats, c vanishes, and ε* = 0. A gradient that is not finite does not enter the average. State: {"average": m_t}.
    Source: Li et al. 2024, Friendly Sharpness-Aware Minimization, algorithm 1, whose λ is decay. Raises: ValueError for decay
    outside (0, 1) or a sigma that is negative or not finite.
    """

    sigma: float = 1.0
    decay: float = 0.9

    def __post_init__(self) -> None:
        check_decay(self.decay, "; 0 leaves nothing of the gradient", zero=False)
        check_number("sigma", self.sigma, "; 0 gives the plain gradient")

    def step(self, observation: Observation, state: State) -> tuple[Vectors, State]:
        """(g_t − σ m_t, {"average": m_t})."""
        g, last = observation.gradient, past(state, "average", observation.gradient)
        average, kept = averaged(g, last, self.decay)
        if not any_of(last):
            return g, {"average": kept}
        residual = vec.add(g, average, -self.sigma)
        return [x if m is None else r for m, x, r in zip(last, g, residual, strict=True)], {"average": kept}
