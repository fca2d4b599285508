"""ASAM's geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from ..core import check_callable, check_number
from ..core import vectors as vec
from ..norms import Diagonal
from ..observation import Metric, Observation

Where = Callable[[str | None, Tensor], bool]


def matrices(name: str | None, parameter: Tensor) -> bool:
    """Weights, not biases or normalisation scales: parameters with two or more dimensions."""
    return parameter.dim() >= 2


@dataclass(frozen=True)
class ParameterScaled(Metric):
    """G = diag((|w| + η)⁻²) where ``where(name, parameter)`` holds, 1 elsewhere: ε* = ρ T²g/‖Tg‖ with T = |w| + η.

    At η = 0 a weight that is zero stays zero. ``where`` defaults to parameters with two or more dimensions; the published
    codes differ in this and in η, so that their radii do not carry over.
    Source: Kwon et al. 2021; Kim et al. 2022, eq. 4 and 5. Raises: ValueError for η < 0.
    """

    eta: float = 0.01
    where: Where = field(default=matrices, repr=False)

    def __post_init__(self) -> None:
        check_number("eta", self.eta, ": it is added to |w|")
        check_callable("where", self.where, "lambda name, parameter: parameter.dim() >= 2")

    def local(self, observation: Observation) -> Diagonal:
        """The norm at the observation's parameters."""
        scaled = [self.where(name, parameter) for name, parameter in observation.named()]
        w = [p.detach() for p in observation.parameters]
        return Diagonal.scaled(lambda index: vec.absolute([w[i] for i in index]), self.eta, scaled, observation.parameters)
