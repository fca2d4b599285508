"""The per-sample Fisher diagonal."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core import Damping, Relative, check_damping, check_instance
from ..engines import Auto, Engine
from ..norms import Diagonal
from ..observation import MeanSquares, Metric, Needs, Observation


@dataclass(frozen=True)
class DiagonalEmpiricalFisher(Metric):
    """G = diag((1/n) Σᵢ gᵢ²) + λI.

    gᵢ: gradient of sample i's own training loss, not divided by n. With class weights or label smoothing in that loss it is a
    Fisher in name only.
    Source: Kim et al. 2022, eq. 11. Raises: TypeError without per-sample access; ValueError for λ < 0, or λ = 0 where an
    entry is zero.
    """

    damping: Damping = Relative(0.1)
    engine: Engine = field(default_factory=Auto)

    def __post_init__(self) -> None:
        check_damping(self.damping)
        check_instance("engine", self.engine, Engine)

    @property
    def _squares(self) -> MeanSquares:
        return MeanSquares(self.engine)

    @property
    def needs(self) -> Needs:
        """The mean of squared per-sample gradients."""
        return (self._squares,)

    def local(self, observation: Observation) -> Diagonal:
        """The norm at the observation."""
        squares = observation[self._squares]
        return Diagonal.damped(squares, self.damping, observation.parameters, "the diagonal of the empirical Fisher")
