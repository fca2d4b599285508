"""What a solver is, what it is lent, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from . import vectors as vec
from .divergence import Divergence, Landing
from .geometry import Norm
from .vectors import Vectors

Covector = Callable[[Vectors], Vectors]
"""ε ↦ the objective's covector at θ + ε."""


@dataclass(frozen=True)
class Perturbation:
    """ε* = scale · direction, as solved; the product is formed only when asked for.

    dual_norm: ‖c‖*. radius: the norm (or √(2D)) that ε* reaches. finite: whether c and what was made of it is finite; if not,
    or if c = 0, then ε* = 0. landing: the solver's own forward pass at θ + ε*, if it was asked to keep it. memory: what it
    wants to be lent the next time. All scalars are 0-dimensional tensors on the device.
    """

    direction: Vectors
    scale: Tensor
    dual_norm: Tensor
    radius: Tensor
    finite: Tensor
    report: Mapping[str, Any] = field(default_factory=dict)
    landing: Landing | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epsilon(self) -> list[Tensor]:
        """ε*, a list of tensors in parameter order, computed at each access."""
        return vec.keep(self.finite, vec.scale(self.direction, self.scale))


@dataclass(frozen=True)
class Loan:
    """What a step lends a solver for one solution; a solver takes what it can use.

    scratch: tensors like the parameters that ♯c may be written into. covector: ε ↦ the objective's covector at θ + ε.
    keep: says whether a forward pass at θ + ε*, kept with its graph, may stand for the second pass's own; asked only by a
    solver that makes one. memory: what the solver left in :attr:`Perturbation.memory` the last time.
    """

    scratch: Vectors | None = None
    covector: Covector | None = None
    keep: Callable[[], bool] = lambda: False
    memory: Mapping[str, Any] = field(default_factory=dict)


class Solver(ABC):
    """Finds ε* for a covector c in the ball of radius rho. Write ``solve``."""

    @property
    def revisits(self) -> bool:
        """Whether it asks for the covector at other points than θ: then pass 1's gradient must outlive later passes."""
        return False

    def borrow(self, loan: Loan) -> Solver:
        """The solver with what it can use of the loan. By default itself: it takes nothing."""
        return self

    @abstractmethod
    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε* with ‖ε*‖ ≤ rho (for a divergence D(ε*) ≤ rho²/2)."""
