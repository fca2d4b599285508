"""Sharpness as numbers: on average, at worst and as an eigenvalue; of one batch or as the mean over several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .table import Table, Tabled, shown


@dataclass(frozen=True)
class Sharpness(Tabled):
    """How much the batch loss L rises around θ in the geometry G, at radius ρ.

    loss: L(θ). average: E[L(θ + ε)] − L(θ) with ε ~ N(0, ρ²G⁻¹), to second order ½ρ² tr(G⁻¹H); standard_error: of it. Here ρ is
    a standard deviation in every G-orthonormal direction, E‖ε‖_G² = ρ²P: a typical sample is √P times as long as ε*.
    worst: L(θ + ε*) − L(θ) at SAM's one-step ε*, ‖ε*‖_G = ρ. ascended: the largest rise in ``steps`` steps of projected
    ascent, the first of which is ε*; a lower bound of the maximum over the ball.
    eigenvalue: the largest μ with Hv = μGv, H = ∇²L(θ), so that max L over ‖ε‖_G ≤ ρ is L + ½ρ²μ + O(ρ³) where ∇L = 0.
    each: of several batches, their own; the numbers are then the means over batches, each of which has its own ε* (SAM's m),
    standard_error that of the mean, iterations the sum, converged whether all are, residual the largest.
    residual, iterations, converged: the report of Lanczos's method, see :func:`geosam.sharpness`. report: that of the solver
    of ε*, such as how conjugate gradients ended. What was left out is None.
    """

    rho: float
    loss: float
    worst: float
    ascended: float
    steps: int
    average: float | None = None
    standard_error: float | None = None
    samples: int = 0
    eigenvalue: float | None = None
    residual: float | None = None
    iterations: int = 0
    converged: bool | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    each: tuple[Sharpness, ...] = ()

    def tables(self) -> list[Table]:
        """The numbers in a line; of several batches one more line each."""
        error = "" if self.standard_error is None else " ± standard error"
        head = ["batch", "rho", "loss", f"average{error}", "worst", f"ascended, {self.steps} steps", "eigenvalue", "converged"]
        each = [(str(i), one) for i, one in enumerate(self.each)]
        return [Table(head, [one._line(name) for name, one in [("mean" if each else "-", self), *each]])]

    def _line(self, name: str) -> list[str]:
        average = shown(self.average) if self.standard_error is None else f"{self.average:.3g} ± {self.standard_error:.1g}"
        numbers = [shown(x) for x in (self.rho, self.loss)]
        return [name, *numbers, average, shown(self.worst), shown(self.ascended), shown(self.eigenvalue), _yes(self.converged)]

    def records(self) -> list[dict[str, Any]]:
        """A row a batch; of one batch its own."""
        return [{k: v for k, v in vars(one).items() if k not in ("report", "each")} for one in self.each or (self,)]


def mean(each: list[Sharpness]) -> Sharpness:
    """Over batches, with each one's own."""

    def over(name: str) -> Any:
        values = [getattr(one, name) for one in each]
        return None if values[0] is None else math.fsum(values) / len(values)

    errors = [one.standard_error for one in each if one.standard_error is not None]
    residuals = [one.residual for one in each if one.residual is not None]
    return replace(
        each[0],
        **{name: over(name) for name in ("loss", "worst", "ascended", "average", "eigenvalue")},
        standard_error=math.hypot(*errors) / len(each) if errors else None,
        residual=max(residuals, default=None),
        iterations=sum(one.iterations for one in each),
        converged=all(one.converged for one in each) if residuals else None,
        report={},
        each=tuple(each),
    )


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"
