"""The largest absolute entry."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..core import Norm, Vectors
from ..core import vectors as vec


@dataclass(frozen=True, eq=False)
class Sup(Norm):
    """‖v‖ = max |vᵢ|, ‖c‖* = Σ |cᵢ|, ♯c = ‖c‖* sign(c)."""

    like: Vectors | None = None

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*)."""
        dual = vec.absolute_sum(c)
        return vec.scale(vec.sign(c), dual), dual

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖."""
        return vec.sup(v)
