"""The closed forms for a norm: ε* along ♯c, as long as a rule says."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor

from ..core import Divergence, Loan, Norm, Perturbation, Solver, Vectors
from ..core import vectors as vec
from ..core.sharded import number


class Closed(Solver):
    """ε* = s ♯c with s of ‖c‖* alone. scratch: tensors like the parameters that ♯c may be written into."""

    scratch: Vectors | None

    def borrow(self, loan: Loan) -> Closed:
        """Uses the loan's scratch."""
        return self if loan.scratch is None else replace(self, scratch=loan.scratch)  # type: ignore[type-var]

    @abstractmethod
    def lengths(self, rho: float, dual: Tensor) -> tuple[Tensor, Tensor]:
        """(s, ‖ε*‖), on the device of ‖c‖*, float64; s = 0 where ‖c‖* is 0."""

    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε* = s ♯c. Raises TypeError for a divergence."""
        if not isinstance(geometry, Norm):
            raise TypeError(f"{type(self).__name__} needs a norm; a divergence has no ♯. Use solvers.Radial().")
        direction, dual = geometry.ascend_into(self.scratch, c)
        dual = number(dual)
        scale, radius = self.lengths(rho, dual)
        return Perturbation(
            direction=direction,
            scale=scale,
            dual_norm=dual,
            radius=radius,
            finite=dual < math.inf,
            report=geometry.report,
        )


@dataclass(frozen=True)
class DualNorm(Closed):
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

    def lengths(self, rho: float, dual: Tensor) -> tuple[Tensor, Tensor]:
        """(ρ/‖c‖*, ρ)."""
        scale = vec.over(rho, dual)
        return scale, scale.sign() * rho
