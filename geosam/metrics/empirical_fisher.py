"""The empirical Fisher, exact and full."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._abstract import Metric, Needs
from ..damping import Damping, Relative, check_damping
from ..engines import Auto
from ..evidence import Evidence
from ..norms import LowRank
from ..rows import Engine


@dataclass(frozen=True)
class EmpiricalFisher(Metric):
    """G = (1/n) Σᵢ gᵢgᵢᵀ + λI, exact and full; ♯g is a re-weighted gradient, Jᵀ n(K + nλI)⁻¹1/n with K = JJᵀ.

    gᵢ: gradient of sample i's own training loss, one row of J, not divided by n. With class weights or label smoothing in
    that loss it is a Fisher in name only. As λ → 0 with independent rows ‖g‖* → 1 and every sample's first-order rise is ρ:
    undamped, it is degenerate for over-parametrised models.
    Source: Kim et al. 2022, eq. 7 with data labels. Raises: TypeError without per-sample access; ValueError for λ < 0, or
    λ = 0 where the rows do not span the parameters.
    """

    damping: Damping = Relative(0.1)
    engine: Engine = field(default_factory=Auto)

    def __post_init__(self) -> None:
        check_damping(self.damping)

    @property
    def needs(self) -> Needs:
        """The per-sample Jacobian."""
        return Needs(rows=self.engine)

    def local(self, evidence: Evidence) -> LowRank:
        """The norm at the evidence's rows, decomposed once."""
        assert evidence.rows is not None, "collect() supplies the rows"
        return LowRank(evidence.rows, self.damping)
