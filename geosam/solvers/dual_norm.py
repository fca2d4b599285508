"""The closed form for a norm."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..core import Divergence, Loan, Norm, Perturbation, Solver, Vectors
from ..core import vectors as vec


@dataclass(frozen=True)
class DualNorm(Solver):
    """ε* = ρ ♯c / ‖c‖*: the argmax of ⟨c, ε⟩ over ‖ε‖ ≤ ρ.

    scratch: tensors like the parameters that ♯c may be written into.
    c = 0 gives ε* = 0; so does a c that is not finite, by a selection on the device.
    Source: Boyd & Vandenberghe 2004, A.1.6; Foret et al. 2021, eq. 2; Kim et al. 2022, eq. 2, 5 and 10 are its instances.
    """

    scratch: Vectors | None = None

    @property
    def homogeneous(self) -> bool:
        """True."""
        return True

    def borrow(self, loan: Loan) -> DualNorm:
        """Uses the loan's scratch."""
        return self if loan.scratch is None else replace(self, scratch=loan.scratch)

    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε* with ‖ε*‖ = rho. Raises TypeError for a divergence."""
        if not isinstance(geometry, Norm):
            raise TypeError("DualNorm needs a norm; a divergence has no ♯. Use solvers.Radial().")
        direction, dual = geometry.ascend_into(self.scratch, c)
        scale = vec.over(rho, dual)
        return Perturbation(
            direction=direction,
            scale=scale,
            dual_norm=dual,
            radius=scale.sign() * rho,
            finite=dual < math.inf,
            report=geometry.report,
        )
