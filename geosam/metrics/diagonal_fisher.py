"""The diagonal of the model's own Fisher information."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core import Damping, Relative, check_damping, check_instance
from ..engines import Auto, Engine
from ..norms import Diagonal
from ..observation import LabelDraws, Metric, Needs, Observation
from ..sampling import Exact, Sampling


@dataclass(frozen=True)
class DiagonalFisher(Metric):
    """G = diag(E_x E_{y∼p_θ}[(∇log p)²]) + λI over the batch. The labels of the data are not used.

    sampling: ``Exact()``, or ``MonteCarlo(n)`` with n labels per sample. Squares of rows are summed over chunks of
    samples of 256 MiB; the engine does not form those of linear layers.
    Source: Kim et al. 2022, eq. 7 and 11. Raises: TypeError where the loss has no known likelihood; ValueError for λ < 0, λ = 0
    where an entry is zero, or BatchNorm in training mode without ``frozen_statistics``.
    """

    damping: Damping = Relative(0.1)
    sampling: Sampling = Exact()
    engine: Engine = field(default_factory=Auto)

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_instance("sampling", self.sampling, Sampling)
        check_instance("engine", self.engine, Engine)

    @property
    def _draws(self) -> LabelDraws:
        return LabelDraws(self.sampling, self.engine)

    @property
    def needs(self) -> Needs:
        """The mean squares of rows of label draws."""
        return (self._draws,)

    def local(self, observation: Observation) -> Diagonal:
        """The norm at the observation."""
        squares = observation[self._draws].squares
        assert squares is not None, "without a limit the draws are mean squares"
        return Diagonal.damped(squares, self.damping, observation.parameters, "the diagonal of the Fisher information")
