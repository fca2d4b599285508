"""Projected ascent in several steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core import Covector, Divergence, Loan, Norm, Perturbation, Solver, Vectors, check_number
from ..core import vectors as vec
from ..core.sharded import number
from .dual_norm import DualNorm


@dataclass(frozen=True)
class MultiStep(Solver):
    """ε_{k+1} = Π(ε_k + step · ρ ♯c_k/‖c_k‖*), ε_0 = 0, c_k the covector at θ + ε_k and Π(v) = v · min(1, ρ/‖v‖).

    The norm is the one at θ in all steps; any norm is allowed. Π is the projection where the norm is an inner product; for
    others it is not, but its result is feasible, and ⟨c_k, ε_{k+1}⟩ ≥ ⟨c_k, ε_k⟩ still holds (‖v‖ ≤ (1 + step)ρ, and
    ρ‖c_k‖* ≥ ⟨c_k, ε_k⟩). So a convex loss never falls from one step to the next, for any step; with any other loss a long
    step may overshoot. The first step is :class:`DualNorm`'s, bit for bit, unless step < 1 shortens it.

    Each step after the first costs a forward and a backward pass, in training with BatchNorm's updates and a new dropout mask.
    gradient: ε ↦ c at θ + ε; the optimizer and :func:`geosam.ascend` supply it. A c_k that is not finite gives ε* = 0, by a
    selection on the device; a later c_k = 0, a critical point, leaves ε unchanged. dual_norm: ‖c_0‖*; report: ``steps``.
    Source: Foret et al. 2021, appendix (several inner steps); Madry et al. 2018 for the projection. Raises: ValueError for
    steps < 1 or a step that is not positive; TypeError for a divergence, or without a gradient for steps > 1.
    """

    steps: int
    step: float = 1.0
    gradient: Covector | None = None

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps must be a whole number ≥ 1, got {self.steps!r}; 1 is DualNorm()")
        check_number("step", self.step, ": a share of rho", positive=True)

    @property
    def revisits(self) -> bool:
        """True for more than one step."""
        return self.steps > 1

    def borrow(self, loan: Loan) -> MultiStep:
        """Uses the loan's covector around θ."""
        return self if loan.covector is None else replace(self, gradient=loan.covector)

    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε_steps, with ‖ε‖ ≤ rho."""
        if not isinstance(geometry, Norm):
            raise TypeError("MultiStep needs a norm; a divergence has no ♯. Use solvers.Radial(), or its `along` norm here.")
        found = DualNorm().solve(geometry, c, min(self.step, 1.0) * rho)
        if self.steps == 1:
            return replace(found, report={**found.report, "steps": 1})
        if self.gradient is None:
            raise TypeError(
                "MultiStep asks for the gradient at θ + ε, and solve() knows only that at θ. Use "
                "SAM(base, solver=MultiStep(k)), geosam.ascend(problem.on(x, y), ...), or MultiStep(k, gradient=...)."
            )
        epsilon, finite, radius = found.epsilon, found.finite, found.radius
        for _ in range(1, self.steps):
            epsilon, length, usable = self._step(geometry, self.gradient(epsilon), epsilon, rho)
            finite, radius = finite & usable, length
        one = torch.ones_like(radius)
        return Perturbation(
            direction=epsilon,
            scale=torch.where(finite, one, 0.0),
            dual_norm=torch.where(finite, found.dual_norm, torch.nan),
            radius=torch.where(finite, radius, 0.0),
            finite=finite,
            report={**geometry.report, "steps": self.steps},
        )

    def _step(self, norm: Norm, c: Vectors, epsilon: Vectors, rho: float) -> tuple[list[Tensor], Tensor, Tensor]:
        """(ε_{k+1}, ‖ε_{k+1}‖, whether c_k was finite)."""
        direction, dual = norm.ascend(c)
        dual = number(dual)
        factor = torch.where(dual > 0, self.step * rho / dual, 0.0)
        # selected, because 0 · NaN is NaN; a dual norm that is not finite is reported, and gives ε* = 0
        stride = vec.keep(torch.isfinite(factor) & (factor > 0), vec.scale(direction, factor))
        moved = vec.add(epsilon, stride)
        length = number(norm.norm(moved))
        shrink = torch.where(length > rho, rho / length, 1.0)
        return vec.scale(moved, shrink), length * shrink, torch.isfinite(dual)
