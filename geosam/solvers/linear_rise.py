"""A radius from the rise that is wanted, to first order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Vectors, check_radius
from ..core import vectors as vec
from .dual_norm import Closed


@dataclass(frozen=True)
class LinearRise(Closed):
    """ε* = r ♯c/‖c‖* with r = min(σ/‖c‖*, ρ): the shortest ε with ⟨c, ε⟩ = σ, within the ball of radius ρ.

    rise: σ > 0, in units of the loss. ‖ε*‖ = r is reported. Costs what DualNorm costs.
    Source: LE-SAM for the Euclidean norm; here in any. Raises: ValueError unless σ is finite and positive.
    """

    rise: float
    scratch: Vectors | None = None

    def __post_init__(self) -> None:
        if not check_radius(self.rise, "rise") > 0:
            raise ValueError("rise must be positive; rho = 0 is the base optimizer's own step")

    def lengths(self, rho: float, dual: Tensor) -> tuple[Tensor, Tensor]:
        """(r/‖c‖*, r)."""
        inside = dual * rho > self.rise
        scale = torch.where(inside, vec.over(self.rise, dual * dual), vec.over(rho, dual))
        return scale, torch.where(inside, self.rise / dual, scale.sign() * rho)
