"""Laws of an inner product, ‖v‖² = ⟨Gv, v⟩ with G symmetric and positive definite.

An error of a tangent vector is measured in the norm itself and that of a covector in the dual norm: both are independent of
coordinates, and a ♯ in floating point can then reach √κ·eps, κ the condition number of G; in Euclidean lengths κ·eps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core import InnerProduct
from ...core import vectors as vec
from ..drawn import Drawn, combination
from ..measure import equal, holds, within


def sharp_is_linear(norm: InnerProduct, drawn: Drawn, tolerance: float) -> None:
    """♯(ac + bd) = a ♯c + b ♯d."""
    a, b = drawn.a, drawn.b
    parts = combination(a, norm.sharp(drawn.c), b, norm.sharp(drawn.d))
    gap = combination(1.0, norm.sharp(combination(a, drawn.c, b, drawn.d)), -1.0, parts)
    scale = abs(a) * norm.dual_norm(drawn.c) + abs(b) * norm.dual_norm(drawn.d)
    within("‖♯(ac + bd) − a♯c − b♯d‖ relative to |a|‖c‖* + |b|‖d‖*:", norm.norm(gap), scale, tolerance)


def flat_is_linear(norm: InnerProduct, drawn: Drawn, tolerance: float) -> None:
    """♭(au + bv) = a ♭u + b ♭v."""
    a, b = drawn.a, drawn.b
    parts = combination(a, norm.flat(drawn.u), b, norm.flat(drawn.v))
    gap = combination(1.0, norm.flat(combination(a, drawn.u, b, drawn.v)), -1.0, parts)
    scale = abs(a) * norm.norm(drawn.u) + abs(b) * norm.norm(drawn.v)
    within("‖♭(au + bv) − a♭u − b♭v‖* relative to |a|‖u‖ + |b|‖v‖:", norm.dual_norm(gap), scale, tolerance)


def inner_is_symmetric(norm: InnerProduct, drawn: Drawn, tolerance: float) -> None:
    """⟨Gu, v⟩ = ⟨Gv, u⟩."""
    gap = (norm.inner(drawn.u, drawn.v) - norm.inner(drawn.v, drawn.u)).abs()
    within("|⟨Gu, v⟩ − ⟨Gv, u⟩|/(‖u‖‖v‖):", gap, norm.norm(drawn.u) * norm.norm(drawn.v), tolerance)


def inner_is_positive(norm: InnerProduct, drawn: Drawn, tolerance: float) -> None:
    """⟨Gv, v⟩ = ‖v‖² > 0 for v ≠ 0."""
    square = norm.inner(drawn.v, drawn.v)
    holds(f"⟨Gv, v⟩ = {square} for v ≠ 0", square > 0)
    equal("⟨Gv, v⟩", square, norm.norm(drawn.v).square(), tolerance)


def flat_inverts_sharp(norm: InnerProduct, drawn: Drawn, tolerance: float) -> None:
    """♭♯c = c."""
    gap = combination(1.0, norm.flat(norm.sharp(drawn.c)), -1.0, drawn.c)
    within("‖♭♯c − c‖*/‖c‖*:", norm.dual_norm(gap), norm.dual_norm(drawn.c), tolerance)


def matches_its_own_matrix(norm: InnerProduct, drawn: Drawn, tolerance: float) -> None:
    """♯, ‖·‖ and ‖·‖* are those of the dense G whose columns are ♭e₁ … ♭e_P, symmetric, solved in float64."""
    eye = torch.eye(vec.count(drawn.c), dtype=torch.float64, device=drawn.c[0].device)
    columns = [vec.flatten(norm.flat(vec.unflatten(e, drawn.c))).double() for e in eye]
    matches_its_definition(norm, drawn, tolerance, torch.stack(columns, 1))


def matches_its_definition(norm: InnerProduct, drawn: Drawn, tolerance: float, dense: Tensor) -> None:
    """♯, ‖·‖ and ‖·‖* are those of the dense matrix that the definition gives, solved in float64."""
    root = dense.diagonal().clamp_min(1e-300).sqrt()
    unit = dense / root.outer(root)
    skew = (unit - unit.T).abs().max()
    holds(f"G is not symmetric: {skew:.3g} off, diagonal scaled to 1", skew <= tolerance)
    values, basis = torch.linalg.eigh((unit + unit.T) / 2)
    # G's entries are known to eps √(Gᵢᵢ Gⱼⱼ), so that G⁻¹ is known to sight/(1 − sight), sight = P·eps·κ of the scaled G
    least = values.shape[0] * torch.finfo(drawn.c[0].dtype).eps
    holds(f"G has an eigenvalue {values[0]:.3g}, diagonal scaled to 1", values[0] >= -least)
    values = values.clamp_min(least)
    sight = float(least * values[-1] / values[0])
    tolerance = tolerance + (sight / (1 - sight) if sight < 1 else torch.inf)

    def length(v: Tensor) -> Tensor:
        return (values * (basis.T @ (root * v)).square()).sum().sqrt()

    c, v = vec.flatten(list(drawn.c)).double(), vec.flatten(drawn.v).double()
    x = basis @ ((basis.T @ (c / root)) / values) / root
    sharp = vec.flatten(list(norm.sharp(drawn.c))).double()
    within("‖♯c − G⁻¹c‖/‖G⁻¹c‖:", length(sharp - x), length(x), tolerance)
    equal("‖c‖*", norm.dual_norm(drawn.c), length(x), tolerance)
    equal("‖v‖", norm.norm(drawn.v), length(v), tolerance)
