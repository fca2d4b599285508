"""A radius from the rise that is wanted, by the loss itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..core import Divergence, Loan, Norm, Perturbation, Solver, Vectors, check_radius
from ..core import vectors as vec
from .constrained import Lossy
from .crossing import first_crossing
from .dual_norm import DualNorm


@dataclass(frozen=True)
class ExactRise(Solver):
    """ε = t ρ ♯c/‖c‖* with L(θ + ε) − L(θ) = σ at the first crossing with t ≤ 1: as far as the loss itself rises by σ.

    rise: σ > 0, in units of the loss. Where the loss does not rise by σ within the ball of radius ρ, ‖ε‖ = ρ (or that of the
    highest rise found), and the report has the ``shortfall``, 1 − rise/σ. tolerance: relative, on the rise. Costs at most 1 +
    ``evaluations`` forward passes, three being typical, and a host read in each; under dropout they have the mask of pass 2.
    loss: the bound problem whose loss it is; the optimizer supplies its own.
    Raises: ValueError unless σ is finite and positive; TypeError for a divergence, and without a problem (a closure).
    """

    rise: float
    tolerance: float = 0.01
    evaluations: int = 6
    loss: Lossy | None = None
    start: float = 1.0

    def __post_init__(self) -> None:
        if not check_radius(self.rise, "rise") > 0:
            raise ValueError("rise must be positive; rho = 0 is the base optimizer's own step")

    def borrow(self, loan: Loan) -> ExactRise:
        """Uses the step's problem, and starts from the last step's ‖ε‖."""
        return replace(self, loss=self.loss or loan.problem, start=loan.memory.get("start", self.start))

    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε with L(θ + ε) − L(θ) ≤ (1 + tolerance) σ and ‖ε‖ ≤ rho."""
        if self.loss is None:
            raise TypeError("ExactRise evaluates the loss around θ: step on problem.on(x, y), or pass loss=")
        ray = DualNorm().solve(geometry, c, rho)
        if rho == 0 or not ray.finite or ray.scale == 0:
            return ray
        surface = self.loss.surface()
        here = surface.loss(vec.zeros_like(surface.theta)).item()

        def rise(t: float) -> float:
            return surface.loss(vec.scale(ray.direction, ray.scale * t)).item() - here

        found = first_crossing(rise, self.rise, min(self.start / rho, 1.0), self.tolerance, self.evaluations, limit=1.0)
        t = found.t if found.t > 0 else 1.0  # the loss falls along the whole ray
        shortfall = 0.0 if found.met else max(0.0, 1 - found.value / self.rise)
        return replace(
            ray,
            scale=ray.scale * t,
            radius=torch.full_like(ray.radius, t * rho),
            report={**ray.report, "evaluations": found.evaluations, "rise": found.value, "shortfall": shortfall},
            memory={"start": t * rho},
        )
