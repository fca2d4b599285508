"""Laws of ‖·‖ and of the duality map ♯. They hold for every norm."""

from __future__ import annotations

from ...core import Norm
from ..drawn import Drawn, combination, pairing, scaled
from ..measure import at_most, equal, holds, within


def sharp_keeps_the_length(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """‖♯c‖ = ‖c‖*."""
    equal("‖♯c‖", norm.norm(norm.sharp(drawn.c)), norm.dual_norm(drawn.c), tolerance)


def sharp_is_homogeneous(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """♯(−2c) = −2 ♯c."""
    sharp = list(norm.sharp(drawn.c))
    gap = combination(1.0, norm.sharp(scaled(drawn.c, -2.0)), 2.0, sharp)
    within("‖♯(−2c) + 2♯c‖/‖2♯c‖:", norm.norm(gap), 2 * norm.norm(sharp), tolerance)


def ascend_is_sharp_and_dual_norm(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """``ascend``, ``sharp`` and ``dual_norm`` agree, and ⟨c, ♯c⟩ = ‖c‖*²."""
    sharp, dual = norm.ascend(drawn.c)
    equal("dual_norm(c) against that of ascend(c)", norm.dual_norm(drawn.c), dual, tolerance)
    gap = combination(1.0, norm.sharp(drawn.c), -1.0, sharp)
    within("‖sharp(c) − ascend(c)‖/‖c‖*:", norm.norm(gap), dual, tolerance)
    equal("⟨c, ♯c⟩", pairing(drawn.c, sharp), dual.square(), tolerance)


def norm_is_homogeneous(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """‖−3v‖ = 3‖v‖ > 0 for v ≠ 0."""
    length = norm.norm(drawn.v)
    holds(f"‖v‖ = {length} for v ≠ 0", length > 0)
    equal("‖−3v‖", norm.norm(scaled(drawn.v, -3.0)), 3 * length, tolerance)


def norm_obeys_the_triangle(norm: Norm, drawn: Drawn, tolerance: float) -> None:
    """‖u + v‖ ≤ ‖u‖ + ‖v‖."""
    bound = norm.norm(drawn.u) + norm.norm(drawn.v)
    at_most("‖u + v‖", norm.norm(combination(1.0, drawn.u, 1.0, drawn.v)), bound, tolerance * bound)
