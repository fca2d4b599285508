"""The argmax over a divergence's ball, not only along a ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..core import Divergence, Norm, Perturbation, Solver, Vectors
from ..core import vectors as vec
from .radial import Radial
from .search import Ball, Search, Target


class Surface(Protocol):
    """ε ↦ L(θ + ε), with its gradient."""

    theta: Vectors

    def loss(self, epsilon: Vectors) -> Tensor:
        """L(θ + ε)."""

    def gradient(self, epsilon: Vectors) -> Vectors:
        """∇L(θ + ε)."""


class Lossy(Protocol):
    """Anything with a loss around θ, such as a bound problem."""

    def surface(self) -> Surface:
        """The loss around the current parameters."""


@dataclass(frozen=True)
class Constrained(Solver):
    """A local maximum of ⟨c, ε⟩ over D(ε) ≤ ρ²/2, by sequential quadratic programming (SciPy's SLSQP) from Radial's answer.

    loss: a bound problem whose loss itself, L(θ + ε), is maximised instead; c then only gives the start. The point θ + ε*
    of that maximum is the same in all smooth coordinates, since neither L(θ + ε) nor D depends on them. The maximum of ⟨c, ε⟩
    is the same under affine maps; under others its point moves by O(ρ²), because linearising depends on coordinates.

    There need not be a maximum. KL(new ‖ old) stays finite where a class's new probability goes to 0 and its cross-entropy
    to infinity, so that eq. 6's worst case can be infinite; and where the model has a continuous symmetry (ReLU nets: a unit's
    incoming weights times s, outgoing over s) D = 0 on a curve along which ⟨c, ε⟩ may be unbounded. Both raise ValueError.

    For small problems: the curvature at 0 is formed as a P × P matrix and P variables are optimised. limit: the largest P.
    iterations: of SLSQP; tolerance: of the residual of the Kuhn–Tucker conditions, relative to the gradient. The budget always
    holds, and the rise is never below that of an exact ``Radial``. ``report``: rise (⟨c, ε⟩ or L(θ + ε) − L(θ)), iterations,
    evaluations of D, residual, converged, shortfall. An iterate that is not finite is rejected.
    Source: Kim et al. 2022, eq. 6. Raises: TypeError for a norm; ValueError above the limit or without a maximum; ImportError
    without SciPy.
    """

    loss: Lossy | None = None
    limit: int = 300
    iterations: int = 200
    tolerance: float = 1e-9

    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε* with D(ε*) ≤ rho²/2."""
        if not isinstance(geometry, Divergence):
            raise TypeError("Constrained needs a divergence; a norm has a closed form. Use solvers.DualNorm().")
        if geometry.cap is not None:
            raise ValueError("Constrained looks for a maximum over the whole KL ball and has no cap. Use solvers.Radial().")
        if vec.count(c) > self.limit:
            raise ValueError(
                f"Constrained is for small problems: {vec.count(c)} parameters exceed its limit of {self.limit}, and a step "
                "costs their number squared in memory and cubed in time. Use solvers.Radial(), or raise limit= if you can wait."
            )
        ray = Radial(tolerance=1e-9, evaluations=40).solve(geometry, c, rho)
        if rho == 0 or not ray.finite or ray.scale == 0:
            return ray
        ball = Ball(geometry, c, rho)
        target = _linear(c) if self.loss is None else _loss(self.loss)
        search = Search(ball, target, vec.flatten(ray.epsilon).double(), self.iterations, self.tolerance)
        found, rise, radius = search.run()
        epsilon = ball.vectors(found)
        return Perturbation(
            direction=epsilon,
            scale=torch.ones_like(ray.scale),
            dual_norm=ray.dual_norm,
            radius=torch.full_like(ray.dual_norm, radius),
            finite=ray.finite,
            report={
                "rise": rise,
                "iterations": search.done,
                "evaluations": ball.evaluations,
                "residual": search.residual,
                "converged": search.converged,
                "shortfall": max(0.0, 1 - radius / rho),
            },
        )


def _linear(c: Vectors) -> Target:
    flat = vec.flatten(c).double()
    return lambda epsilon: (float(flat @ vec.flatten(epsilon).double()), flat)


def _loss(source: Lossy) -> Target:
    surface = source.surface()
    start = float(surface.loss(vec.zeros_like(surface.theta)))

    def target(epsilon: Vectors) -> tuple[float, Tensor]:
        return float(surface.loss(epsilon)) - start, vec.flatten(surface.gradient(epsilon)).double()

    return target
