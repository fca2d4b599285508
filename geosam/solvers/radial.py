"""A divergence's budget, solved for along a ray."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..core import Divergence, Landing, Loan, Norm, Perturbation, Solver, Vectors, check_number
from ..core import vectors as vec
from .crossing import first_crossing
from .dual_norm import DualNorm


@dataclass(frozen=True)
class Radial(Solver):
    """ε = t ε_along with D(ε) = ρ²/2 at the first crossing, on the ray of the divergence's ``along`` norm.

    tolerance: relative, on √(2D), on either side: twice that of D. evaluations: of D, at most; three are typical. Where D
    saturates below the budget (or the evaluations run out) the largest ε found within the budget is returned: ``radius`` < ρ,
    and the report's ``shortfall`` is 1 − radius/ρ; so it is where the divergence's ``cap`` on ‖ε‖₂ ends the ray, and ``capped``
    is then true. Each evaluation is one forward pass and one host read. start: where the search for t begins; the optimizer
    provides the last step's t (the report's ``multiple``), which saves an evaluation or two. land: keep the forward pass of the
    accepted evaluation; it can replace that of the second pass. unit: what ‖ε‖₂ is compared with, for the result's ``beside``.
    """

    tolerance: float = 0.01
    evaluations: int = 6
    start: float = 1.0
    land: bool = False
    unit: Tensor | None = None

    def __post_init__(self) -> None:
        check_number("tolerance", self.tolerance, positive=True)

    def borrow(self, loan: Loan) -> Radial:
        """Starts from the last step's t, and keeps the forward pass where the loan allows."""
        return replace(self, start=loan.memory.get("start", self.start), land=loan.keep(), unit=loan.unit())

    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε with D(ε) ≤ rho²/2. Raises TypeError for a norm."""
        if not isinstance(geometry, Divergence):
            raise TypeError("Radial needs a divergence; a norm has a closed form. Use solvers.DualNorm().")
        divergence = geometry
        ray = DualNorm().solve(divergence.along, c, rho)
        if rho == 0 or not ray.finite or ray.scale == 0:
            return ray

        measured = self.unit is not None or divergence.cap is not None
        length = ray.scale * vec.norm(ray.direction) if measured else None  # of ε at t = 1
        limit = math.inf if length is None or divergence.cap is None else divergence.cap / length.item()
        pending = None if length is None or self.unit is None else length / self.unit
        visited: tuple[float, Landing | None] = (0.0, None)
        beside = 0.0

        def root(t: float) -> float:
            nonlocal visited, pending, beside
            visited = (t, None)  # releases the last graph before the next one is recorded
            value, landing = divergence.visit(ray.direction, ray.scale * t, self.land)
            visited = (t, landing)
            if pending is None:
                number = value.item()
            else:
                number, beside = torch.stack([value.double(), pending.to(value.device)]).tolist()
                pending = None
            return math.sqrt(max(2 * number, 0.0)) if math.isfinite(number) else math.inf

        crossing = first_crossing(root, rho, self.start, self.tolerance, self.evaluations, limit=limit)
        facts: dict[str, Any] = {"evaluations": crossing.evaluations, "multiple": crossing.t}
        if divergence.cap is not None:
            facts["capped"] = visited[0] == limit and not crossing.met  # which ends the search
        shortfall = 0.0 if crossing.met else 1 - crossing.value / rho
        return Perturbation(
            direction=ray.direction,
            scale=ray.scale * crossing.t,
            dual_norm=ray.dual_norm,
            radius=torch.as_tensor(crossing.value, dtype=torch.float64, device=ray.dual_norm.device),
            finite=ray.finite,
            landing=visited[1] if visited[0] == crossing.t else None,
            report={**ray.report, **facts, "shortfall": shortfall},
            beside=None if self.unit is None else beside * crossing.t,
            memory={"start": crossing.t} if crossing.t else {},
        )
