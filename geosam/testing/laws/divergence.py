"""Laws of a divergence: D ≥ 0 with D(0) = 0, ∇D(0) = 0 and ∇²D(0) the metric of ``local_norm``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...core import Divergence, Solver, Vectors
from ...core import vectors as vec
from ...solvers import DualNorm, Radial, solve
from ..drawn import Drawn, combination, pairing, scaled
from ..measure import at_most, equal, holds, within

_EVALUATIONS = 6
_T = 1e-2  # small enough for the Taylor series, large enough for a model that runs in float32


def vanishes_at_zero(divergence: Divergence, drawn: Drawn, tolerance: float) -> None:
    """D(0) = 0."""
    within("D(0) =", divergence(vec.zeros_like(drawn.v)).abs(), 1.0, tolerance**2)


def is_nowhere_negative(divergence: Divergence, drawn: Drawn, tolerance: float) -> None:
    """D(ε) ≥ 0, far from 0 and near."""
    for size in (1.0, 1e-2):
        for v in (drawn.u, drawn.v):
            at_most("−D(ε)", -divergence(scaled(v, size)), 0.0, tolerance)


def is_flat_at_zero(divergence: Divergence, drawn: Drawn, tolerance: float) -> None:
    """∇D(0) = 0: the odd part (D(tv) − D(−tv))/2t falls like t²."""
    t, v = _T, _moderate(drawn.v)
    odd = (divergence(scaled(v, t)) - divergence(scaled(v, -t))).abs() / (2 * t)
    within("|D(tv) − D(−tv)|/2t relative to t²:", odd, 1 + _curvature(divergence, v), 20 * t**2)


def its_hessian_is_the_local_norm(divergence: Divergence, drawn: Drawn, tolerance: float) -> None:
    """D(tv) = ½ t² ⟨Gv, v⟩ + O(t³) with G of ``local_norm(0)``, which damping makes G + λI."""
    v = _moderate(drawn.v)
    want = _curvature(divergence, v)
    t = _T
    first, second, third = (2 * float(divergence(scaled(v, s))) / s**2 for s in (t, t / 2, t / 4))
    # Richardson: the terms in t and t² of D(tv)/½t² cancel
    limit = (first - 6 * second + 8 * third) / 3
    within(f"2D(tv)/t² → {limit:.9g} should be ⟨Gv, v⟩ = {want:.9g}; error", abs(limit - want), 1 + want, 20 * t**2)
    damped = divergence.local_norm(0.5).norm(v).square()
    equal("⟨Gv, v⟩ + ½‖v‖²", damped, want + 0.5 * float(vec.dot(v, v)), tolerance)


def meets_its_budget(divergence: Divergence, drawn: Drawn, tolerance: float, solver: Solver | None = None) -> None:
    """D(ε*) = ρ²/2 to 1 %, on the ray of ``along``, in at most six evaluations; or less, with the shortfall reported."""
    found = solve(divergence, drawn.c, drawn.rho, solver or Radial(evaluations=_EVALUATIONS))
    reached = (2 * divergence(found.epsilon).clamp_min(0)).sqrt()
    missing = float(found.report["shortfall"])
    at_most("√2D(ε*)", reached, drawn.rho, 0.0101 * drawn.rho + tolerance)
    within("√2D(ε*) differs from the reported radius, relative to ρ", abs(reached - found.radius), drawn.rho, 100 * tolerance)
    within("ρ − radius − reported shortfall, relative to ρ:", abs(drawn.rho * (1 - missing) - reached), drawn.rho, 0.0101)
    holds(f"{found.report['evaluations']} evaluations", found.report["evaluations"] <= _EVALUATIONS)
    ray = DualNorm().solve(divergence.along, drawn.c, 1.0).epsilon
    length, rest = divergence.along.norm(found.epsilon), found.epsilon
    gap = divergence.along.norm(combination(1.0, rest, -float(length), ray))
    within("distance of ε* from the ray, relative to its length:", gap, length, 100 * tolerance)


def matches_the_divergence_by_definition(
    divergence: Divergence, drawn: Drawn, tolerance: float, definition: Callable[[Vectors], Tensor]
) -> None:
    """D(ε) is what the definition gives, evaluated slowly in float64."""
    for v in (_moderate(drawn.u), _moderate(drawn.v)):
        want = definition(v)
        within(
            f"D(ε) = {float(divergence(v)):.9g} should be {float(want):.9g}; error",
            abs(divergence(v) - want),
            1 + want,
            tolerance,
        )


def _moderate(v: Vectors) -> Vectors:
    return scaled(v, 0.5 / float(vec.norm(v)))


def _curvature(divergence: Divergence, v: Vectors) -> float:
    norm = divergence.local_norm(0.0)
    return float(pairing(norm.flat(v), v))
