"""Per-sample gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..core import Vectors, check_instance
from ..engines import Choice, Engine
from ..problem import Bound
from ..rows import Rows
from .request import Lead, Look, Request
from .verified import captured, trusted

LACKING = (
    "per-sample gradients; a plain closure gives only the batch gradient. Pass problem.on(x, y), or use GradientMagnitude()."
)


@dataclass(frozen=True)
class PerSampleGradients(Request[Rows]):
    """J, whose row i is ∇ℓᵢ of the training loss, not divided by n; captured by ``engine``."""

    engine: Engine

    def __post_init__(self) -> None:
        check_instance("engine", self.engine, Engine)

    lacking: ClassVar[str] = LACKING
    precedence: ClassVar[int] = 1

    @property
    def single(self) -> bool:
        """True."""
        return True

    def lead(self, look: Look) -> Lead:
        """The mean loss, and g = Jᵀ1/n."""
        found = captured(look, self.engine)
        look.rows[self.engine] = found.rows
        return Lead(found.losses.detach().mean(), mean_gradient(found.rows, look.apart.n, found.losses), found.outputs)

    def take(self, look: Look) -> Rows:
        """Those of the pass if this engine captured them; else by a pass of its own."""
        if self.engine not in look.rows:
            look.rows[self.engine] = look.again(self.engine, lambda: captured(look, self.engine).rows)
        return look.rows[self.engine]

    def restrict(self, value: Rows, index: Sequence[int]) -> Rows:
        """Columns of the rows."""
        return value.restrict(index)

    def explain(self, apart: Bound, bound: Bound, parameters: Vectors) -> Sequence[Choice]:
        """The engine's plan."""
        return trusted(self.engine, apart, parameters).explain(apart, parameters)


def mean_gradient(rows: Rows, n: int, losses: torch.Tensor) -> Vectors:
    """g = Jᵀ1/n, a pulled vector."""
    return rows.pull(torch.full_like(losses, 1 / n))
