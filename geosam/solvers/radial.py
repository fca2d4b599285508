"""A divergence's budget, solved for along a ray."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ..core import Divergence, Landing, Loan, Norm, Perturbation, Solver, Vectors
from .crossing import first_crossing
from .dual_norm import DualNorm


@dataclass(frozen=True)
class Radial(Solver):
    """ε = t ε_along with D(ε) = ρ²/2 at the first crossing, on the ray of the divergence's ``along`` norm.

    tolerance: relative, on √(2D). evaluations: of D, at most; three are typical. Where D saturates below the budget (or the
    evaluations run out) the largest ε found within the budget is returned: ``radius`` < ρ, and the report's ``shortfall`` is
    1 − radius/ρ. Each evaluation is one forward pass and one host read. start: where the search for t begins; the optimizer
    provides the last step's t (the report's ``multiple``), which saves an evaluation or two. land: keep the forward pass of
    the accepted evaluation; it can replace that of the second pass.
    """

    tolerance: float = 0.01
    evaluations: int = 6
    start: float = 1.0
    land: bool = False

    def borrow(self, loan: Loan) -> Radial:
        """Starts from the last step's t, and keeps the forward pass where the loan allows."""
        return replace(self, start=loan.memory.get("start", self.start), land=loan.keep())

    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε with D(ε) ≤ rho²/2. Raises TypeError for a norm."""
        if not isinstance(geometry, Divergence):
            raise TypeError("Radial needs a divergence; a norm has a closed form. Use solvers.DualNorm().")
        divergence = geometry
        ray = DualNorm().solve(divergence.along, c, rho)
        if rho == 0 or not ray.finite or ray.scale == 0:
            return ray

        visited: tuple[float, Landing | None] = (0.0, None)

        def root(t: float) -> float:
            nonlocal visited
            visited = (t, None)  # releases the last graph before the next one is recorded
            value, landing = divergence.visit(ray.direction, ray.scale * t, self.land)
            visited = (t, landing)
            return math.sqrt(max(2 * value.item(), 0.0)) if math.isfinite(value.item()) else math.inf

        crossing = first_crossing(root, rho, self.start, self.tolerance, self.evaluations)
        shortfall = 0.0 if crossing.met else 1 - crossing.value / rho
        return Perturbation(
            direction=ray.direction,
            scale=ray.scale * crossing.t,
            dual_norm=ray.dual_norm,
            radius=torch.as_tensor(crossing.value, dtype=torch.float64, device=ray.dual_norm.device),
            finite=ray.finite,
            landing=visited[1] if visited[0] == crossing.t else None,
            report={**ray.report, "evaluations": crossing.evaluations, "shortfall": shortfall, "multiple": crossing.t},
            memory={"start": crossing.t} if crossing.t else {},
        )
