"""Between the normalised and the unnormalised perturbation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from .dual_norm import Closed


@dataclass(frozen=True)
class Unified(Closed):
    """ε = ρ ((1 − λ) + λ/‖c‖*) ♯c: λ = 1 is :class:`DualNorm`, λ = 0 the unnormalised ε = ρ ♯c, which vanishes with c.

    λ = 0 is the proximal step: argmax ⟨c, ε⟩ − ‖ε‖²/2ρ. Among ε of length t the first term is at most t‖c‖*, reached along ♯c,
    and t‖c‖* − t²/2ρ is largest at t = ρ‖c‖*, where it is ½ρ‖c‖*². So it holds in every norm.

    share: λ. With λ < 1, ρ is no radius: ‖ε‖ = ρ ((1 − λ)‖c‖* + λ) is reported, and ε grows with the loss's scale. Costs what
    DualNorm costs. Source: Oikonomou & Loizou 2025 (unified SAM); Andriushchenko & Flammarion 2022 (λ = 0), both for the
    Euclidean norm. Raises: ValueError unless 0 ≤ λ ≤ 1.
    """

    share: float
    scratch: Vectors | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must lie between 0 (unnormalised) and 1 (normalised), got {self.share}")

    @property
    def homogeneous(self) -> bool:
        """True."""
        return True

    def lengths(self, rho: float, dual: Tensor) -> tuple[Tensor, Tensor]:
        """(ρ ((1 − λ) + λ/‖c‖*), that times ‖c‖*)."""
        scale = rho * (1 - self.share) + vec.over(rho * self.share, dual)
        return scale, scale * dual
