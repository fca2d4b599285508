"""What a solver is, what a step provides to it, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from . import vectors as vec
from .brief import Brief
from .divergence import Divergence, Landing
from .geometry import Norm
from .public import Public
from .vectors import Vectors

Covector = Callable[[Vectors], Vectors]
"""ε ↦ the objective's covector at θ + ε."""


@dataclass(frozen=True)
class Perturbation(Brief):
    """ε* = scale · direction, as solved; the product is computed only when ``epsilon`` is read.

    dual_norm: ‖c‖*. radius: the norm (or √(2D)) that ε* reaches. finite: whether c and all that was computed from it is finite;
    if not, or if c = 0, then ε* = 0. landing: the solver's forward pass at θ + ε*, if it was kept. memory: what the next step's
    :class:`Loan` carries. beside: ‖ε*‖₂ in the loan's unit, if it lent one, on the host. All other scalars are 0-dimensional
    tensors on the device.
    """

    direction: Vectors
    scale: Tensor
    dual_norm: Tensor
    radius: Tensor
    finite: Tensor
    report: Mapping[str, Any] = field(default_factory=dict)
    landing: Landing | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)
    beside: float | None = None

    @property
    def epsilon(self) -> list[Tensor]:
        """ε*, a list of tensors in parameter order, computed at each access."""
        return vec.keep(self.finite, vec.scale(self.direction, self.scale))


@dataclass(frozen=True)
class Loan:
    """What a step provides to a solver for one solve; a solver reads the fields that it needs.

    scratch: tensors like the parameters that ♯c may be written into. covector: ε ↦ the objective's covector at θ + ε.
    keep: returns whether a forward pass at θ + ε*, kept with its graph, may replace that of the second pass; called only by a
    solver that runs one. memory: :attr:`Perturbation.memory` of the previous solve. unit: what ‖ε*‖₂ is to be compared with, in
    steps in which this is due; read together with another number, it costs a solver no read of its own. problem: the bound
    problem that the step is on, whose ``surface()`` is L(θ + ε); None for a closure.
    """

    scratch: Vectors | None = None
    covector: Covector | None = None
    keep: Callable[[], bool] = lambda: False
    memory: Mapping[str, Any] = field(default_factory=dict)
    unit: Callable[[], Tensor | None] = lambda: None
    problem: Any = None


class Solver(Public, ABC):
    """Finds ε* for a covector c in the ball of radius rho. Implement ``solve``."""

    example: ClassVar[str] = "geosam.solvers.Radial()"

    @property
    def revisits(self) -> bool:
        """Whether it needs the covector at points other than θ: then later passes must not overwrite pass 1's gradient."""
        return False

    @property
    def homogeneous(self) -> bool:
        """Whether ε* for a radius is that for radius 1, times it."""
        return False

    def borrow(self, loan: Loan) -> Solver:
        """The solver with its settings taken from the loan. Default: itself, unchanged."""
        return self

    @abstractmethod
    def solve(self, geometry: Norm | Divergence, c: Vectors, rho: float) -> Perturbation:
        """ε* with ‖ε*‖ ≤ rho (for a divergence D(ε*) ≤ rho²/2)."""
