"""SAM's own objective."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import Vectors
from ..observation import Objective, Observation


@dataclass(frozen=True)
class Gradient(Objective):
    """c = g, the gradient of the batch mean loss. Source: Foret et al. 2021."""

    def local(self, observation: Observation) -> Vectors:
        """g."""
        return observation.gradient
