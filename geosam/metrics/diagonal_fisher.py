"""The diagonal of the model's own Fisher information."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._abstract import Metric, Needs, check_instance
from ..damping import Damping, Relative, check_damping
from ..engines import Auto
from ..evidence import Evidence
from ..norms import Diagonal
from ..rows import Engine
from ..sampling import Draws, Exact, Sampling


@dataclass(frozen=True)
class DiagonalFisher(Metric):
    """G = diag(E_x E_{y∼p_θ}[(∇log p)²]) + λI over the batch. The labels of the data play no part.

    sampling: ``Exact()``, or ``MonteCarlo(n)`` with n labels a sample. Squares of rows are summed over chunks of
    samples of 256 MiB; the engine does not form those of linear layers.
    Source: Kim et al. 2022, eq. 7 and 11. Raises: TypeError where the loss names no distribution; ValueError for λ < 0, λ = 0
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
    def _draws(self) -> Draws:
        return Draws(self.sampling, self.engine)

    @property
    def needs(self) -> Needs:
        """The mean squares of rows of the predicted labels."""
        return Needs(draws=(self._draws,))

    def local(self, evidence: Evidence) -> Diagonal:
        """The norm at the evidence."""
        squares = evidence.drawn[self._draws].squares
        assert squares is not None, "collect() supplies the squares"
        return Diagonal.damped(squares, self.damping, evidence.parameters, "the diagonal of the Fisher information")
