"""infoSAM's objective, as far as it is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..core import Damping, Relative, Vectors, check_damping, check_decay, check_number, resolve
from ..core import vectors as vec
from ..core.sharded import own, totals
from ..observation import Objective, Observation, Remembering, State
from .average import any_of, averaged, past


@dataclass(frozen=True)
class NoiseWeighted(Remembering[Vectors], Objective):
    """c = w g_t with w = (min b + δ)/(b + δ), b = |m_t − g_t|^(2·exponent): entries whose gradient is noisy count for less.

    m_t = decay · m_{t−1} + (1 − decay) · g_t, m_0 = g_0, so that (m − g)² estimates the variance of an entry. min b is over
    all entries: it gives the least noisy one weight 1, which keeps c within float32, and does not change ε*. exponent: 1
    weighs by the inverse variance, ½ by the inverse deviation, 0 is SAM. damping: δ > 0, absolute (in units of b) or Relative
    (δ = ratio · mean of b, with which rescaling the loss changes nothing). The first step, and one whose b is 0, has
    c = g. A gradient that is not finite does not enter the average. State: {"average": m_t}.

    **The formula is not confirmed.** It is that of an early public draft, which took exponent 1 and no damping; there one
    entry in 100,000 carries over 0.999 of ‖ε‖², and an entry with g = m = 0 makes all of ε NaN.
    Source: after Zhang, Li & Giannakis 2025 (infoSAM). Raises: ValueError for decay outside [0, 1), an exponent that is
    negative or not finite, or damping that is not positive.
    """

    decay: float = 0.9
    exponent: float = 1.0
    damping: Damping = Relative(0.1)

    def __post_init__(self) -> None:
        check_decay(self.decay)
        check_number("exponent", self.exponent, "; 0 gives the plain gradient")
        check_damping(self.damping)
        if (self.damping.ratio if isinstance(self.damping, Relative) else self.damping) == 0:
            raise ValueError("damping = 0 divides by the noise of entries that have none. Use damping > 0, e.g. Relative(0.1)")

    def step(self, observation: Observation, state: State) -> tuple[Vectors, State]:
        """(w g_t, {"average": m_t})."""
        g, last = observation.gradient, past(state, "average", observation.gradient)
        average, kept = averaged(g, last, self.decay)
        return (self._weighted(g, average) if any_of(last) else g), {"average": kept}

    def _weighted(self, g: Vectors, average: Vectors) -> list[Tensor]:
        sums, least = [], []
        for noise in self._noise(g, average):
            (b,) = own([noise])
            sums.append(b.sum())
            least.append(-b.amin() if b.numel() else b.new_full((), -math.inf))
        mean = vec.gathered(totals(sums, g)).sum() / vec.count(g)
        damping = resolve(self.damping, lambda: mean)
        smallest = damping - vec.gathered(totals(least, g, largest=True)).amax()
        pairs = zip(g, self._noise(g, average), strict=True)
        return [(t * (smallest.to(t.device) / (b + vec.on(damping, t)))).to(t.dtype) for t, b in pairs]

    def _noise(self, g: Vectors, average: Vectors) -> Iterator[Tensor]:
        """b, tensor by tensor, in float64: the square of 1e-25 is 0 in float32."""
        return ((m.double() - t.double()).abs().pow(2 * self.exponent) for m, t in zip(average, g, strict=True))
