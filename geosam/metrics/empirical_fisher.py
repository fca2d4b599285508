"""The empirical Fisher, exact and full."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..core import Damping, InnerProduct, Relative, check_damping, check_instance
from ..engines import Auto, Engine
from ..norms import LowRank, Rebased
from ..observation import Metric, Needs, Observation, PerSampleGradients
from ..rows import Pulled


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
        check_instance("engine", self.engine, Engine)

    @property
    def _rows(self) -> PerSampleGradients:
        return PerSampleGradients(self.engine)

    @property
    def needs(self) -> Needs:
        """The per-sample Jacobian."""
        return (self._rows,)

    def local(self, observation: Observation) -> InnerProduct:
        """The norm at the observation's rows, decomposed once."""
        rows, g = observation[self._rows], observation.gradient
        norm = LowRank(rows, self.damping)
        if not isinstance(g, Pulled) or g.rows is rows:
            return norm
        # another engine's rows of the same losses: the gradient has the same coordinates in these
        same = torch.ones(1, rows.n, dtype=torch.float64, device=rows.like[0].device)
        return Rebased(norm, g.rows, (same, same[0] > 0))
