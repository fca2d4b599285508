"""ASAM's geometry with one scale per parameter tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core import check_callable, check_number
from ..core import vectors as vec
from ..norms import Diagonal
from ..observation import Metric, Observation
from .parameter_scaled import Where, matrices


@dataclass(frozen=True)
class LayerWise(Metric):
    """G = diag(T⁻²) with T = ‖W‖₂ + η, one number for a whole tensor W, where ``where(name, W)`` holds, 1 elsewhere.

    ε* = ρ T²g/‖Tg‖. ``where`` defaults to parameters with two or more dimensions. At η = 0 rescaling a layer changes nothing,
    and a layer that is zero stays zero. For fixed shares of the radius per layer, whatever their sizes, see :class:`Blockwise`.
    Source: Mueller et al. 2023, layer-wise ASAM; their code has T = ‖W‖₂(1 + η). Raises: ValueError for η < 0.
    """

    eta: float = 0.01
    where: Where = field(default=matrices, repr=False)

    def __post_init__(self) -> None:
        check_number("eta", self.eta, ": it is added to ‖W‖")
        check_callable("where", self.where, "lambda name, parameter: parameter.dim() >= 2")

    def local(self, observation: Observation) -> Diagonal:
        """The norm at the observation's parameters."""
        scaled = [self.where(name, p) for name, p in observation.named()]
        w = [p.detach() for p in observation.parameters]
        return Diagonal.scaled(lambda index: vec.norms([w[i] for i in index]), self.eta, scaled, observation.parameters)
