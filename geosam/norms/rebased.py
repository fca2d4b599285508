"""A low-rank inner product that also solves for pulled vectors of other rows in its own row space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core import InnerProduct, Normal, Vectors
from ..core import vectors as vec
from ..rows import Pulled, Rows
from .low_rank import LowRank


@dataclass(frozen=True, eq=False)
class Rebased(InnerProduct):
    """``base``; a pulled vector J'ᵀa of the n rows J' = ``source`` is solved in base's K·n rows, as far as it is in their span.

    coordinates: (α [K, n], spanned [n]) with J'ᵢ = Σ_k α_kᵢ J_kᵢ, row k·n + i, where ``spanned``; then that part of J'ᵀa is
    Jᵀ(α ∘ a). So push-through solves for the batch gradient although other rows built the matrix: its rounding error off their
    span would be multiplied by σ²/λ, σ² the largest eigenvalue. The rest is solved by Woodbury's formula. facts: the report.
    """

    base: LowRank
    source: Rows | None = None
    coordinates: tuple[Tensor, Tensor] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def like(self) -> Vectors:  # type: ignore[override]
        """As ``base.like``."""
        return self.base.like

    @property
    def report(self) -> Mapping[str, Any]:
        """``facts``: how the matrix was built."""
        return self.facts

    @property
    def damping(self) -> Tensor | float:
        """λ."""
        return self.base.damping

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*)."""
        if not isinstance(c, Pulled) or c.rows is not self.source or self.coordinates is None:
            return self.base.ascend(c)
        (alpha, spanned), a = self.coordinates, c.coordinates.double()
        inside = self.base.rows.pull((alpha * a).flatten())
        if vec.reads_are_free([spanned]) and bool(spanned.all()):
            return self.base.ascend(inside)
        return self.base.ascend_sum(inside, c.rows.pull(torch.where(spanned, 0.0, a).to(c.coordinates.dtype)))

    def sharp(self, c: Vectors) -> Vectors:
        """♯c."""
        return self.ascend(c)[0]

    def flat(self, v: Vectors) -> Vectors:
        """♭v."""
        return self.base.flat(v)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖."""
        return self.base.norm(v)

    def coloured(self, normal: Normal, like: Vectors) -> Vectors:
        """As ``base.coloured``."""
        return self.base.coloured(normal, like)

    def logdet(self) -> Tensor:
        """As ``base.logdet``."""
        return self.base.logdet()
