"""The geometry of the loss surface."""

from __future__ import annotations

from dataclasses import dataclass

from ..norms import RankOne
from ..observation import Metric, Observation


@dataclass(frozen=True)
class Monge(Metric):
    """G = I + ggᵀ, the metric that the graph of the loss inherits: ε* = ρ g/(‖g‖√(1 + ‖g‖²)).

    Along the gradient it is SAM with radius ρ/√(1 + ‖g‖²). g is the batch mean gradient, frozen at θ.
    Source: Jacobsen & Arvanitidis 2025 (arXiv 2502.08448).
    """

    def local(self, observation: Observation) -> RankOne:
        """The norm frozen at the observation's gradient."""
        return RankOne(observation.gradient)
