"""An inner product given by its matrix-vector products, inverted by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..core import InnerProduct, Vectors
from ..core import vectors as vec


class MatrixFree(InnerProduct):
    """G = F + λI with F given by v ↦ Fv, symmetric and positive semi-definite. ♯c by conjugate gradients.

    Stops at ‖c − Gv‖ ≤ tolerance · ‖c‖ or after ``iterations``. An early stop is safe: ``ascend`` returns the primal norm
    ‖v‖² = ⟨v, c − r⟩, r the residual, so that ε* has norm ρ at every tolerance; only ⟨c, ε*⟩ gets smaller. facts: what is
    known of the matrix before a solve, for the report.
    """

    def __init__(
        self,
        product: Callable[[Vectors], Vectors],
        like: Vectors,
        damping: Tensor | float,
        tolerance: float = 1e-4,
        iterations: int = 100,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.product, self.like, self.damping = product, like, damping
        self.tolerance, self.iterations, self.facts = tolerance, iterations, facts
        self._last: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"MatrixFree(damping={float(self.damping):.3g}, tolerance={self.tolerance}, iterations={self.iterations})"

    @property
    def report(self) -> Mapping[str, Any]:
        """``facts``; iterations, residual (over ‖c‖₂), converged, ended ("tolerance met", "iterations spent", "stalled")."""
        return {**self.facts, **self._last}

    def _ended(self, iterations: int, residual: float) -> None:
        converged = residual <= 2 * self.tolerance
        ended = "tolerance met" if converged else "iterations spent" if iterations >= self.iterations else "stalled"
        self._last = {"iterations": iterations, "residual": residual, "converged": converged, "ended": ended}

    def flat(self, v: Vectors) -> list[Tensor]:
        """Fv + λv."""
        return vec.axpy(self.product(v), self.damping, v)

    def sharp(self, c: Vectors) -> Vectors:
        """♯c to the tolerance."""
        return self.ascend(c)[0]

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(v, √⟨v, c − r⟩) with Gv = c − r."""
        size = vec.norm(c)
        if not torch.isfinite(size) or size == 0:
            self._ended(0, 0.0)
            return c, size
        # ♯ is homogeneous: solving for c/‖c‖ keeps every scalar of the iteration near 1
        unit = vec.scale(c, 1 / size)
        v, r = vec.zeros_like(c), unit
        p, square, done = r, vec.dot(r, r), 0
        while done < self.iterations and square.sqrt() > self.tolerance:
            q = self.flat(p)
            curvature = vec.dot(p, q)
            if not curvature > 0:
                if done == 0:
                    raise ValueError(
                        f"conjugate gradients met ⟨p, Gp⟩ = {curvature.item():.3g}: G is singular or not positive here. "
                        "Use damping > 0."
                    )
                break
            step = square / curvature
            v, r = vec.axpy(v, step, p), vec.axpy(r, -step, q)
            last, square, done = square, vec.dot(r, r), done + 1
            p = vec.axpy(r, square / last, p)
        r = vec.axpy(unit, -1.0, self.flat(v))  # the recursive residual drifts in float32
        self._ended(done, vec.norm(r).item())
        primal = (vec.dot(v, unit) - vec.dot(v, r)).clamp_min(0).sqrt()
        return vec.scale(v, size), primal * size
