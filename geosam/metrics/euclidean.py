"""SAM's own geometry."""

from __future__ import annotations

from dataclasses import dataclass

from .._abstract import Metric
from ..evidence import Evidence
from ..norms import Identity


@dataclass(frozen=True)
class Euclidean(Metric):
    """G = I: ε* = ρ g/‖g‖₂.

    Source: Foret et al. 2021, eq. 2.
    """

    def local(self, evidence: Evidence) -> Identity:
        """The same at every θ."""
        return Identity(evidence.parameters)
