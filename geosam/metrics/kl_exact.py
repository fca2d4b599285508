"""KL itself as the geometry."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..core import Divergence, InnerProduct, Landing, Norm, Vectors
from ..norms import MatrixFree
from ..observation import Metric, Needs, Observation, PredictiveDistribution, Remembering, State, as_metric
from ..predictive import Predictive
from .empirical_fisher import EmpiricalFisher


@dataclass(frozen=True, eq=False)
class KLDivergence(Divergence):
    """D(ε) = E_x KL(p_{θ+ε} ‖ p_θ) = ½ εᵀFε + O(‖ε‖³), F the true Fisher, undamped; over the batch."""

    predictive: Predictive
    along: Norm

    def __call__(self, epsilon: Vectors) -> Tensor:
        """D(ε); one forward pass."""
        return self.predictive.kl(epsilon)

    def visit(self, direction: Vectors, scale: Tensor, keep: bool) -> tuple[Tensor, Landing | None]:
        """D(scale · direction); one forward pass, which can be kept."""
        return self.predictive.visit(direction, scale, keep)

    def gradient(self, epsilon: Vectors) -> Vectors:
        """∇D(ε); one forward and one backward pass."""
        return self.predictive.kl_gradient(epsilon)

    def local_norm(self, damping: float) -> InnerProduct:
        """G = F + damping · I."""
        return MatrixFree(self.predictive.fisher, self.predictive.parameters, damping)


@dataclass(frozen=True)
class KLExact(Remembering[KLDivergence], Metric):
    """The set E_x KL(p_{θ+ε} ‖ p_θ) ≤ ρ²/2, solved for on the ray of ``along``'s own ε* at its first crossing, to 1 %.

    The ½ is right: eq. 8 of the paper drops it, and its radii differ by √2 from eq. 6. The argmax over the KL ball is not on
    this ray in general; in small problems see ``solver=solvers.Constrained()``. Dropout has one mask in all of a step's passes.
    Source: Kim et al. 2022, eq. 6. Raises: TypeError where the loss has no known likelihood.
    """

    along: Metric = field(default_factory=EmpiricalFisher)

    def __post_init__(self) -> None:
        object.__setattr__(self, "along", as_metric(self.along, "along"))

    @property
    def needs(self) -> Needs:
        """What ``along`` needs, and the predictive distribution."""
        return *self.along.needs, PredictiveDistribution()

    def step(self, observation: Observation, state: State) -> tuple[KLDivergence, State]:
        """The divergence, with the state of ``along``."""
        along, state = self.along.step(observation, state)
        if not isinstance(along, Norm):
            raise TypeError(f"KLExact(along={self.along!r}) needs a norm to choose its ray, not another divergence")
        return KLDivergence(observation[PredictiveDistribution()], along), state
