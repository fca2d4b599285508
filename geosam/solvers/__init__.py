"""Solvers: from a geometry at a point, a covector and a radius to ε*."""

from __future__ import annotations

import math
from dataclasses import replace

from .._abstract import Divergence, Norm, Perturbation, Solver
from .._vectors import Vectors
from .constrained import Constrained
from .crossing import Crossing, first_crossing
from .dual_norm import DualNorm
from .multi_step import MultiStep
from .radial import Radial

__all__ = ["Constrained", "Crossing", "DualNorm", "MultiStep", "Radial", "check_radius", "first_crossing", "solve"]


def check_radius(rho: float) -> float:
    """rho as a float; TypeError or ValueError unless it is a finite number ≥ 0."""
    if isinstance(rho, bool) or not isinstance(rho, int | float):
        raise TypeError(f"rho must be a number, got {rho!r}")
    if not (math.isfinite(rho) and rho >= 0):
        raise ValueError(f"rho must be finite and not negative, got {rho}; rho = 0 is the base optimizer's own step")
    return float(rho)


def solve(geometry: Norm | Divergence, c: Vectors, rho: float, solver: Solver | None = None) -> Perturbation:
    """ε*: the steepest ascent of ⟨c, ε⟩ in the ball of radius rho.

    geometry: a norm (‖ε‖ ≤ rho) or a divergence (D(ε) ≤ rho²/2). c: tensors in parameter order. solver: by default the one
    that fits the geometry, :class:`DualNorm` or :class:`Radial`. The report of a covector that was itself solved for
    (``Preconditioned``) stands under "covector".
    """
    rho = check_radius(rho)
    if len(c) == 0:
        raise ValueError("the covector has no tensors: there is nothing to perturb")
    like = geometry.like if isinstance(geometry, Norm) else geometry.along.like
    if like is not None:
        shapes, theirs = (
            [tuple(t.shape) for t in like],
            [tuple(t.shape) for t in getattr(c, "like", c)],
        )  # a pulled vector stays lazy
        if shapes != theirs:
            raise ValueError(f"the covector's shapes {theirs} are not those of the geometry, {shapes}")
    solver = solver or (Radial() if isinstance(geometry, Divergence) else DualNorm())
    found, of_covector = solver.solve(geometry, c, rho), getattr(c, "report", {})
    return replace(found, report={**found.report, "covector": of_covector}) if of_covector else found
