"""The Euclidean norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import InnerProduct, Normal, Vectors
from ..core import vectors as vec


@dataclass(frozen=True, eq=False)
class Identity(InnerProduct):
    """G = I, ♯c = c."""

    like: Vectors | None = None

    def sharp(self, c: Vectors) -> Vectors:
        """c itself."""
        return c

    def flat(self, v: Vectors) -> Vectors:
        """v itself."""
        return v

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(c, ‖c‖₂)."""
        return c, vec.norm(c)

    def coloured(self, normal: Normal, like: Vectors) -> list[Tensor]:
        """z."""
        return [normal(t.shape) for t in like]

    def logdet(self) -> Tensor:
        """0."""
        return torch.zeros((), dtype=torch.float64, device=self.like[0].device if self.like else None)
