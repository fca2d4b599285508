"""SAM's own objective."""

from __future__ import annotations

from dataclasses import dataclass

from .._abstract import Objective
from .._vectors import Vectors
from ..evidence import Evidence


@dataclass(frozen=True)
class Gradient(Objective):
    """c = g, the gradient of the batch mean loss. Source: Foret et al. 2021."""

    def local(self, evidence: Evidence) -> Vectors:
        """g."""
        return evidence.gradient
