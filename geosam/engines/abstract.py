"""What an engine is, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..core import Public, Vectors
from ..core import vectors as vec
from ..problem import Bound
from ..rows.abstract import Rows


class Captured(NamedTuple):
    """The results of one forward pass. losses: ℓ, [n]. rows: of ℓ. drawn: rows of the requested cotangents, [K·n, P].

    outputs: the model's on the whole batch, if the engine ran it whole and they are one tensor. doubtful: whether something
    in this batch suggests that samples meet, so that its rows should be verified.
    """

    losses: Tensor
    rows: Rows
    drawn: Rows | None = None
    outputs: Tensor | None = None
    doubtful: bool = False


class Moments(NamedTuple):
    """ℓ, [n]; g = (1/n) Σ gᵢ; (1/n) Σ gᵢ²; outputs and doubtful as in :class:`Captured`; weighted: Σ cᵢgᵢ, if asked for."""

    losses: Tensor
    gradient: list[Tensor]
    squares: list[Tensor]
    outputs: Tensor | None = None
    doubtful: bool = False
    weighted: list[Tensor] | None = None


Draw = Callable[[Tensor], Tensor]
"""Outputs [n, ...] → K cotangents per sample, [K, n, ...]. Row k·n + i is Jᵢᵀu, u the k-th of sample i."""


@dataclass(frozen=True)
class Choice:
    """What an engine does for some parameters. form: how their rows are represented; why: the rule that decided."""

    names: Sequence[str]
    form: str
    why: str


class Engine(Public, ABC):
    """How per-sample quantities are computed. Every engine gives the same numbers at a different cost."""

    example: ClassVar[str] = "geosam.engines.Auto()"
    by_layers: ClassVar[bool] = False
    """Whether it takes a layer's output for what its class computes, so that a hook that comes later is looked at anew."""

    @abstractmethod
    def capture(self, bound: Bound, parameters: Vectors, draw: Draw | None = None) -> Captured:
        """Rows of the losses with respect to ``parameters``, and of the cotangents ``draw(outputs)``, by one forward pass."""

    def rows(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, Rows]:
        """(ℓ, J): the per-sample losses, shape [n], and the rows with respect to ``parameters``."""
        return self.capture(bound, parameters)[:2]

    def moments(self, bound: Bound, parameters: Vectors, coefficients: Tensor | None = None) -> Moments:
        """The losses, the batch gradient and the mean of squared rows, by one forward pass. coefficients: c, [n], float64."""
        captured = self.capture(bound, parameters)
        with vec.as_given(captured.losses):
            weighted = None if coefficients is None else captured.rows.summed(coefficients)
            return Moments(captured.losses, *captured.rows.moments(), captured.outputs, captured.doubtful, weighted)

    def instead(self) -> Engine | None:
        """The engine that takes over on a structure where this one's rows are found wrong; None if they would be the same."""
        return None

    def squares(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """(ℓ, g, (1/n) Σ gᵢ²)."""
        return self.moments(bound, parameters)[:3]

    def explain(self, bound: Bound, parameters: Vectors) -> Sequence[Choice]:
        """How the rows of each parameter would be computed on this batch, and why."""
        return [Choice(bound.names(parameters), type(self).__name__, "chosen by name")]
