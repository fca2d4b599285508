"""The mean of squared per-sample gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core import Vectors, check_instance
from ..engines import Choice, Engine
from ..problem import Bound
from .request import Lead, Look, Request
from .rows import LACKING
from .verified import moments, trusted


@dataclass(frozen=True)
class MeanSquares(Request[Vectors]):
    """(1/n) Σ gᵢ² entry by entry, float64 or in the parameters' type where its range holds them; captured by ``engine``."""

    engine: Engine

    def __post_init__(self) -> None:
        check_instance("engine", self.engine, Engine)

    lacking: ClassVar[str] = LACKING
    precedence: ClassVar[int] = 2

    @property
    def single(self) -> bool:
        """True."""
        return True

    def lead(self, look: Look) -> Lead:
        """The mean loss and its gradient, from the same pass."""
        found = moments(look, self.engine)
        look.found[self] = found.squares
        return Lead(found.losses.detach().mean(), found.gradient, found.outputs)

    def take(self, look: Look) -> Vectors:
        """From rows that this engine captured in the pass; else by a pass of its own."""
        if self.engine in look.rows:
            return look.rows[self.engine].mean_squares()
        return look.again(self.engine, lambda: moments(look, self.engine).squares)

    def restrict(self, value: Vectors, index: Sequence[int]) -> Vectors:
        """The tensors of these parameters."""
        return [value[i] for i in index]

    def explain(self, apart: Bound, bound: Bound, parameters: Vectors) -> Sequence[Choice]:
        """The engine's plan."""
        return trusted(self.engine, apart, parameters).explain(apart, parameters)
