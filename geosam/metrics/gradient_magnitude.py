"""Fisher SAM as published: the squared batch gradient in place of the Fisher diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import check_damping, check_number, singular
from ..core import vectors as vec
from ..norms import Diagonal
from ..observation import Metric, Observation


@dataclass(frozen=True)
class GradientMagnitude(Metric):
    """G = diag(damping + η g²), g the batch mean gradient: ε* = ρ G⁻¹g/√⟨g, G⁻¹g⟩.

    (η, damping) = (1, 1) is the paper's section 5, where the inverse is 1/(1 + ηg²); with gradients below 0.1 that is SAM at
    the same ρ to 1e-4 or better. (1, small) is its algorithm 1. Not an estimate of the Fisher diagonal: (mean gᵢ)² is not
    the mean of gᵢ².
    Source: Kim et al. 2022, eq. 12, algorithm 1 and section 5. Raises: ValueError for η < 0, damping < 0, or damping = 0
    with a gradient that has zeros.
    """

    eta: float = 1.0
    damping: float = 1.0

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_number("eta", self.eta, ": it weighs g²")

    def local(self, observation: Observation) -> Diagonal:
        """The norm frozen at the observation's gradient: its ♯ is linear in any covector."""
        g = [t.detach() for t in observation.gradient]
        if self.damping == 0 and (self.eta == 0 or any(bool((t == 0).any()) for t in g)):
            raise singular("diag(g²)")

        def entries(i: int) -> Tensor:
            base = torch.full((), self.damping, dtype=g[i].dtype, device=g[i].device)
            return torch.addcmul(base, g[i], g[i], value=self.eta)

        def roots() -> list[Tensor]:
            return vec.sqrt_(vec.affine_(vec.mul(g, g), self.eta, self.damping))

        return Diagonal(entries, observation.parameters, roots=roots)
