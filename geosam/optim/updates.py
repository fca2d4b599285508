"""Updates: what the base optimizer is given, from the gradients of both passes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core import Public, Vectors
from ..core import vectors as vec


class Update(Public, ABC):
    """(∇L(θ), ∇L(θ + ε*)) ↦ the gradient that the base optimizer steps with."""

    example: ClassVar[str] = "geosam.updates.Sharp()"

    @abstractmethod
    def keep(self, gradient: Vectors, finite: Tensor) -> Vectors | None:
        """What is kept of the first pass's gradient until the second is over; None: nothing, and then nothing is applied.

        finite: whether the first pass was.
        """

    @abstractmethod
    def apply(self, kept: Vectors, parameters: Vectors, scale: float) -> None:
        """Turn the second pass's gradients, in ``.grad``, into the update's.

        scale: a GradScaler's. The gradients carry it, before and after; kept does not.
        """


@dataclass(frozen=True)
class Sharp(Update):
    """∇L(θ + ε*), SAM's own. Keeps nothing. Source: Foret et al. 2021."""

    def keep(self, gradient: Vectors, finite: Tensor) -> None:
        """Nothing."""

    def apply(self, kept: Vectors, parameters: Vectors, scale: float) -> None:
        """Nothing: ``.grad`` is the update already."""


@dataclass(frozen=True)
class SurrogateGap(Update):
    """s − α g⊥ with s = ∇L(θ + ε*), g = ∇L(θ) and g⊥ = g − s⟨g, s⟩/‖s‖²: GSAM's step. To first order it lowers L(θ + ε*) by
    as much as SAM's and L(θ) by α‖g⊥‖² less, so that the surrogate gap L(θ + ε*) − L(θ) narrows.

    Inner products are Euclidean and over all parameters, for every metric. Costs one copy of the gradient from one pass to the
    other, and no more passes. A first pass that is not finite counts as g = 0, and s = 0 gives −αg. A parameter without a
    gradient in the second pass is left out of both.
    Source: Zhuang et al. 2022, algorithm 1. Raises: ValueError for alpha that is not finite; TypeError for sparse gradients.
    """

    alpha: float = 0.4

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise ValueError(f"alpha must be finite, got {self.alpha}; 0 is SAM's own update")

    def keep(self, gradient: Vectors, finite: Tensor) -> list[Tensor]:
        """A copy of g: the second pass may overwrite the first one's gradient."""
        return vec.keep(finite, vec.clone([t.detach() for t in gradient]))

    def apply(self, kept: Vectors, parameters: Vectors, scale: float) -> None:
        """s ← (1 + αa)s − αg with a = ⟨g, s⟩/‖s‖², one tensor at a time."""
        pairs = [(g, p.grad) for g, p in zip(kept, parameters, strict=True) if p.grad is not None]
        if not pairs:
            return
        if any(s.layout != torch.strided for _, s in pairs):
            raise TypeError("SurrogateGap adds two gradients and needs dense ones. Use nn.Embedding(..., sparse=False).")
        g, s = ([pair[k] for pair in pairs] for k in (0, 1))
        square = vec.dot(s, s)
        along = torch.where(square > 0, vec.dot(g, s) / square, 0.0)
        vec.axpby_(1 + self.alpha * scale * along, s, -self.alpha * scale, g)
