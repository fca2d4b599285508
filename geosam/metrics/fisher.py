"""The model's own Fisher information."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from ..core import Damping, InnerProduct, Relative, Vectors, check_damping, check_instance, resolve, singular
from ..engines import Auto, Engine
from ..norms import LowRank, MatrixFree, Rebased
from ..observation import LabelDraws, Metric, Needs, Observation, PredictiveDistribution, Sampled
from ..rows import Pulled, Rows
from ..sampling import Exact, Sampling


@dataclass(frozen=True)
class Fisher(Metric):
    """G = E_x E_{y∼p_θ}[∇log p ∇log pᵀ] + λI over the batch, full. The labels of the data are not used.

    sampling: ``Exact()``, the expectation over y in closed form, or ``MonteCarlo(n)`` with n labels per sample. Two methods
    give the same numbers. Up to rows_limit rows (entries of a sample's outputs, or n, times the batch size) and 512 MiB of
    them: push-through with their Gram matrix, exact at every λ; the part of a gradient outside their span (Monte Carlo) is
    solved by Woodbury's formula. Above, where the forward pass uses random numbers (dropout), where samples are coupled
    (BatchNorm in training mode), and where the engine gives no rows: matrix-free, ♯c by conjugate gradients to ``tolerance``
    relative to ‖c‖₂ in at most ``iterations``; an early stop still gives ‖ε*‖ = ρ. The norm's report names the method and the
    reason, and of conjugate gradients iterations, residual and why they ended.
    Source: Kim et al. 2022, eq. 7. Raises: TypeError where the loss has no known likelihood; ValueError for λ < 0, λ = 0 with
    fewer outputs than parameters, or MonteCarlo where samples are coupled.
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
    def _draws(self) -> LabelDraws:
        return LabelDraws(self.sampling, self.engine, self.rows_limit, scale=isinstance(self.damping, Relative))

    @property
    def needs(self) -> Needs:
        """The predictive distribution, and rows of its label draws."""
        return PredictiveDistribution(), self._draws

    def local(self, observation: Observation) -> InnerProduct:
        """The norm at the observation, factorised or linearised once."""
        seen, predictive = observation[self._draws], observation[PredictiveDistribution()]
        rank = self.sampling.count(predictive.outputs[0].numel()) * len(predictive.outputs)  # at most
        if self.damping in (0, Relative(0.0)) and rank < observation.size:
            raise singular(f"the Fisher information, of rank {rank} at most with {observation.size} parameters,")
        if seen.rows is not None:
            return Rebased(
                LowRank(seen.rows, self.damping), _rows_of(observation.gradient), seen.coordinates, {"solve": seen.how}
            )
        return self._matrix_free(observation, seen)

    def _matrix_free(self, observation: Observation, seen: Sampled) -> InnerProduct:
        predictive, u = observation[PredictiveDistribution()], seen.cotangents
        product = predictive.fisher if u is None else partial(predictive.drawn_fisher, u)
        known = seen.mean_diagonal
        damping = resolve(self.damping, partial(predictive.mean_diagonal, u) if known is None else lambda: known)
        facts = {"solve": seen.how}
        return MatrixFree(product, observation.parameters, damping, self.tolerance, self.iterations, facts)


def _rows_of(gradient: Vectors) -> Rows | None:
    return gradient.rows if isinstance(gradient, Pulled) else None
