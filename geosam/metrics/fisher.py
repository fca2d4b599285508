"""The model's own Fisher information."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from .._abstract import InnerProduct, Metric, Needs, check_instance
from .._vectors import Vectors
from ..damping import Damping, Relative, check_damping, resolve, singular
from ..engines import Auto
from ..evidence import Evidence
from ..norms import LowRank, MatrixFree, Rebased
from ..rows import Engine
from ..sampling import Draws, Exact, Sampled, Sampling


@dataclass(frozen=True)
class Fisher(Metric):
    """G = E_x E_{y∼p_θ}[∇log p ∇log pᵀ] + λI over the batch, full. The labels of the data play no part.

    sampling: ``Exact()``, the expectation over y in closed form, or ``MonteCarlo(n)`` with n labels a sample. Two ways to the
    same numbers. Up to rows_limit rows (entries of a sample's outputs, or n, times the batch size) and 512 MiB of them:
    push-through with their Gram matrix, exact at every λ; what of a gradient lies outside their span (Monte Carlo) takes
    Woodbury's formula. Above, where the forward pass draws random numbers (dropout), where samples meet (BatchNorm in training
    mode), and where the engine has no rows: matrix-free, ♯c by conjugate gradients to ``tolerance`` relative to ‖c‖₂ in at most
    ``iterations``; an early stop still gives ‖ε*‖ = ρ. The norm's report says which way and why, and for the second
    iterations, residual and how it ended.
    Source: Kim et al. 2022, eq. 7. Raises: TypeError where the loss names no distribution; ValueError for λ < 0, λ = 0 with
    fewer outputs than parameters, or MonteCarlo where samples meet.
    """

    damping: Damping = Relative(0.1)
    sampling: Sampling = Exact()
    tolerance: float = 1e-4
    iterations: int = 100
    engine: Engine = field(default_factory=Auto)
    rows_limit: int = 1024

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_instance("sampling", self.sampling, Sampling)
        check_instance("engine", self.engine, Engine)
        if isinstance(self.rows_limit, bool) or not isinstance(self.rows_limit, int) or self.rows_limit < 0:
            raise ValueError(f"rows_limit counts rows, got {self.rows_limit!r}; 0 is matrix-free always")

    @property
    def _draws(self) -> Draws:
        return Draws(self.sampling, self.engine, self.rows_limit, scale=isinstance(self.damping, Relative))

    @property
    def needs(self) -> Needs:
        """The predictive distribution, and rows of what it predicts."""
        return Needs(predictive=True, draws=(self._draws,))

    def local(self, evidence: Evidence) -> InnerProduct:
        """The norm at the evidence, factorised or linearised once."""
        seen, predictive = evidence.drawn[self._draws], evidence.predictive
        assert predictive is not None, "collect() supplies the distribution"
        rank = self.sampling.count(predictive.outputs[0].numel()) * len(predictive.outputs)  # at most
        if self.damping in (0, Relative(0.0)) and rank < evidence.size:
            raise singular(f"the Fisher information, of rank {rank} at most with {evidence.size} parameters,")
        if seen.rows is not None:
            return Rebased(LowRank(seen.rows, self.damping), evidence.rows, seen.coordinates, {"solve": seen.how})
        return self._matrix_free(evidence, seen)

    def _matrix_free(self, evidence: Evidence, seen: Sampled) -> InnerProduct:
        predictive, u = evidence.predictive, seen.cotangents
        assert predictive is not None
        product = predictive.fisher if u is None else partial(predictive.drawn_fisher, u)
        known = seen.mean_diagonal
        damping = resolve(self.damping, partial(predictive.mean_diagonal, u) if known is None else lambda: known)
        return Explained(MatrixFree(product, evidence.parameters, damping, self.tolerance, self.iterations), seen.how)


@dataclass(frozen=True, eq=False)
class Explained(InnerProduct):
    """``base`` itself, whose report says also why it is solved so, and how the iteration ended."""

    base: MatrixFree
    how: str

    @property
    def like(self) -> Vectors | None:  # type: ignore[override]
        """The base's."""
        return self.base.like

    @property
    def damping(self) -> Tensor | float:
        """λ."""
        return self.base.damping

    @property
    def report(self) -> Mapping[str, Any]:
        """solve; after a solve iterations, residual, converged, and ended: "tolerance met", "iterations spent" or "stalled"."""
        last = self.base.report
        if not last:
            return {"solve": self.how}
        spent = last["iterations"] >= self.base.iterations
        ended = "tolerance met" if last["converged"] else "iterations spent" if spent else "stalled"
        return {"solve": self.how, **last, "ended": ended}

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖♯c‖)."""
        return self.base.ascend(c)

    def sharp(self, c: Vectors) -> Vectors:
        """♯c to the tolerance."""
        return self.base.sharp(c)

    def flat(self, v: Vectors) -> Vectors:
        """♭v."""
        return self.base.flat(v)
