"""The Euclidean norm."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .. import _vectors as vec
from .._abstract import InnerProduct
from .._vectors import Vectors


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
