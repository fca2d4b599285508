"""SAM's own geometry."""

from __future__ import annotations

from dataclasses import dataclass

from ..norms import Identity
from ..observation import Metric, Observation


@dataclass(frozen=True)
class Euclidean(Metric):
    """G = I: ε* = ρ g/‖g‖₂.

    Source: Foret et al. 2021, eq. 2.
    """

    def local(self, observation: Observation) -> Identity:
        """The same at every θ."""
        return Identity(observation.parameters)
