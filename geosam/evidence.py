"""Evidence: what was seen at θ in one pass. Immutable, and the only input of metrics and objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from torch import Tensor

from . import _vectors as vec
from ._abstract import Factorising, Needs
from ._vectors import Vectors
from .norms.kronecker import Factors
from .predictive import Predictive
from .rows import Pulled, Rows
from .sampling import Draws, Sampled

_ROWS = (
    "per-sample gradients; a plain closure gives only the batch gradient. Pass problem.on(x, y), or use GradientMagnitude()."
)
_PREDICTIVE = "the model's predictive distribution; a plain closure gives only the batch gradient. Pass problem.on(x, y)."
_LACKS = {
    "rows": _ROWS,
    "squares": _ROWS,
    "predictive": _PREDICTIVE,
    "draws": _PREDICTIVE,
    "factors": _PREDICTIVE,
}


@dataclass(frozen=True)
class Evidence:
    """Gradient, per-sample rows and predictive distribution at θ, as much as was asked for.

    parameters: θ, in optimizer order. gradient: g = ∇ of the batch mean loss; with rows it is their lazy pull Jᵀ1/n.
    loss: the batch mean loss. names: of the parameters, or None. squares: (1/n) Σ gᵢ², float64 or in the parameters' type
    where its range holds them. drawn, factors: what the requests in ``needs`` gave. origin: of a part, the evidence of all
    parameters.
    """

    parameters: Vectors
    gradient: Vectors
    loss: Tensor
    names: Sequence[str] | None = None
    rows: Rows | None = None
    squares: Vectors | None = None
    predictive: Predictive | None = None
    drawn: Mapping[Draws, Sampled] = field(default_factory=dict)
    factors: Mapping[Factorising, Factors] = field(default_factory=dict)
    origin: Evidence | None = None

    def collect(self, needs: Needs, who: str) -> Evidence:
        """Itself, if it holds what is needed; evidence cannot be added to afterwards."""
        rows, squares = self.rows is not None, self.squares is not None or self.rows is not None
        have = {"rows": rows, "squares": squares, "predictive": self.predictive is not None}
        have["draws"] = all(request in self.drawn for request in needs.draws)
        have["factors"] = all(request in self.factors for request in needs.factors)
        check_needs(needs, who, have)
        return self

    @property
    def mean_squares(self) -> Vectors:
        """(1/n) Σ gᵢ² entry by entry, from whichever evidence holds it."""
        if self.squares is not None:
            return self.squares
        if self.rows is None:
            raise TypeError("this evidence has no per-sample gradients; collect it with Needs(squares=engine)")
        return self.rows.mean_squares()

    def restrict(self, index: Sequence[int]) -> Evidence:
        """The same point seen through some of its parameters: what a block of a product geometry is shown."""

        def pick(v: Vectors) -> list[Tensor]:
            return [v[i] for i in index]

        rows = None if self.rows is None else self.rows.restrict(index)
        gradient: Vectors = self.gradient.restrict(index) if isinstance(self.gradient, Pulled) else pick(self.gradient)
        return replace(
            self,
            parameters=pick(self.parameters),
            gradient=gradient,
            names=None if self.names is None else [self.names[i] for i in index],
            rows=rows,
            squares=None if self.squares is None else pick(self.squares),
            predictive=None if self.predictive is None else self.predictive.restrict(index),
            drawn={request: sampled.restrict(index) for request, sampled in self.drawn.items()},
            factors={request: factors.restrict(index) for request, factors in self.factors.items()},
            origin=self.origin or self,
        )

    def named(self) -> list[tuple[str | None, Tensor]]:
        """(name, parameter) pairs; the name is None where it is not known."""
        names: Sequence[str | None] = [None] * len(self.parameters) if self.names is None else self.names
        return list(zip(names, self.parameters, strict=True))

    @property
    def size(self) -> int:
        """P, the number of scalar parameters."""
        return vec.count(self.parameters)


def check_needs(needs: Needs, who: str, have: Mapping[str, bool] = MappingProxyType({})) -> None:
    """TypeError naming the cure unless all that is needed is there; by default nothing but the gradient is."""
    for what, cure in _LACKS.items():
        if getattr(needs, what) and not have.get(what, False):
            raise TypeError(f"{who} needs {cure}")
