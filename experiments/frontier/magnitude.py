"""The squared batch gradient with damping on its own scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from geosam import Metric, Observation, Relative
from geosam.core import resolve
from geosam.metrics import GradientMagnitude
from geosam.norms import Diagonal


@final
@dataclass(frozen=True)
class RelativeMagnitude(Metric):
    """G = diag(λ + g²), λ relative to the mean of g²: algorithm 1 of Kim et al. 2022 under the damping rule of all others.

    As λ → 0, ♯g → 1/g entry by entry: each entry adds the same to ⟨g, ε⟩, however small its gradient.
    """

    damping: Relative = Relative(1e-3)

    def local(self, observation: Observation) -> Diagonal:
        """The norm frozen at the observation's gradient."""
        flat = torch.cat([t.detach().double().flatten() for t in observation.gradient])
        return GradientMagnitude(1.0, float(resolve(self.damping, lambda: flat.square().mean()))).local(observation)
