"""One call for every geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ..core import Divergence, Loan, Norm, Perturbation, Solver, Vectors, brief, check_radius
from .dual_norm import DualNorm
from .radial import Radial


def solve(
    geometry: Norm | Divergence, c: Vectors, rho: float, solver: Solver | None = None, loan: Loan | None = None
) -> Perturbation:
    """ε* = argmax ⟨c, ε⟩ over the ball of radius rho (for a divergence along a ray, see :class:`Radial`).

    geometry: a norm (‖ε‖ ≤ rho) or a divergence (D(ε) ≤ rho²/2). c: tensors in parameter order. solver: by default the one
    that fits the geometry, :class:`DualNorm` or :class:`Radial`. loan: what a step provides to it. The report of a
    covector that was itself solved for (``Preconditioned``) is under "covector".
    """
    rho = check_radius(rho)
    if not isinstance(geometry, Norm | Divergence):
        raise TypeError(
            "solve() needs a norm or divergence, which metric.at(problem.on(x, y)) makes, and ``local`` of a metric of one's "
            f"own returns; got {brief(geometry)}"
        )
    if isinstance(c, Tensor):
        raise TypeError("the covector is a list of tensors in parameter order, one of which may be all there is: [c]; got one")
    if not isinstance(c, Sequence):
        cure = "list(c.values())" if isinstance(c, Mapping) else "list(c)"
        raise TypeError(f"the covector is a list of tensors in parameter order, {cure}; got {type(c).__name__}")
    if len(c) == 0:
        raise ValueError("the covector has no tensors: there is nothing to perturb")
    like = geometry.like if isinstance(geometry, Norm) else geometry.along.like
    if like is not None:
        shapes, theirs = [t.shape for t in like], [t.shape for t in getattr(c, "like", c)]  # a pulled vector stays lazy
        if shapes != theirs:
            raise ValueError(
                f"the covector's shapes {[*map(tuple, theirs)]} are not those of the geometry, {[*map(tuple, shapes)]}"
            )
    solver = solver or (Radial() if isinstance(geometry, Divergence) else DualNorm())
    solver = solver if loan is None else solver.borrow(loan)
    found, of_covector = solver.solve(geometry, c, rho), getattr(c, "report", {})
    return replace(found, report={**found.report, "covector": of_covector}) if of_covector else found
