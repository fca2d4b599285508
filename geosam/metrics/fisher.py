"""The model's own Fisher information."""

from __future__ import annotations

from dataclasses import dataclass

from .._abstract import Metric, Needs, check_instance
from ..damping import Damping, Relative, check_damping, resolve, singular
from ..evidence import Evidence
from ..norms import MatrixFree


@dataclass(frozen=True)
class Exact:
    """The expectation over the model's labels in closed form."""


@dataclass(frozen=True)
class Fisher(Metric):
    """G = E_x E_{y∼p_θ}[∇log p ∇log pᵀ] + λI over the batch, matrix-free: ♯c by conjugate gradients.

    The labels of the data play no part. tolerance: of the solve, relative to ‖c‖₂; iterations: its limit, an early stop is
    reported and still gives ‖ε*‖ = ρ. Works for every model that torch can linearise, BatchNorm in training mode included.
    Source: Kim et al. 2022, eq. 7. Raises: TypeError where the loss names no distribution;
    ValueError for λ < 0, or λ = 0 with fewer outputs than parameters.
    """

    damping: Damping = Relative(0.1)
    sampling: Exact = Exact()
    tolerance: float = 1e-4
    iterations: int = 100

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_instance("sampling", self.sampling, Exact)

    @property
    def needs(self) -> Needs:
        """The predictive distribution."""
        return Needs(predictive=True)

    def local(self, evidence: Evidence) -> MatrixFree:
        """The norm at the evidence, linearised once."""
        predictive = evidence.predictive
        assert predictive is not None, "collect() supplies the distribution"
        damping = resolve(self.damping, predictive.mean_diagonal)
        rank = predictive.outputs.numel()  # at most
        if isinstance(damping, float) and damping == 0 and rank < evidence.size:
            raise singular(f"the Fisher information, of rank {rank} at most with {evidence.size} parameters,")
        return MatrixFree(predictive.fisher, evidence.parameters, damping, self.tolerance, self.iterations)
