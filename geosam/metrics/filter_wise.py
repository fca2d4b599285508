"""ASAM's geometry with one scale per filter."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core import check_callable, check_number
from ..norms import Diagonal
from ..observation import Metric, Observation
from .parameter_scaled import Where, matrices


def convolutions(name: str | None, parameter: Tensor) -> bool:
    """Kernels of convolutions: parameters with three or more dimensions."""
    return parameter.dim() >= 3


@dataclass(frozen=True)
class FilterWise(Metric):
    """G = diag(T⁻²) with T = ‖f‖₂ + η for all entries of a filter f, |w| + η for the other weights, 1 for the rest.

    ε* = ρ T²g/‖Tg‖. A filter makes one output: it is parameter[j] of the parameters that ``filters(name, parameter)``
    selects, by default convolution kernels; :func:`~geosam.metrics.parameter_scaled.matrices` adds the rows of linear layers.
    A transposed convolution has its inputs first, and its filters are those of an input. ``where`` selects what is scaled
    at all, by default parameters with two or more dimensions, so that biases have T = 1; the authors' code, which has only the
    element-wise form, selects by the name "weight", which includes the scales of normalisation layers. Rescaling a filter
    changes nothing at η = 0, where a filter that is zero stays zero.
    Source: Kwon et al. 2021, section 3, filter-wise normalisation, with η and biases as in its experiments.
    Raises: ValueError for η < 0.
    """

    eta: float = 0.01
    where: Where = field(default=matrices, repr=False)
    filters: Where = field(default=convolutions, repr=False)

    def __post_init__(self) -> None:
        check_number("eta", self.eta, ": it is added to ‖f‖ and |w|")
        check_callable("where", self.where, "lambda name, parameter: parameter.dim() >= 2")
        check_callable("filters", self.filters, "lambda name, parameter: parameter.dim() > 2")

    def local(self, observation: Observation) -> Diagonal:
        """The norm at the observation's parameters."""
        scaled = [self.where(name, p) for name, p in observation.named()]
        whole = [p.dim() >= 2 and self.filters(name, p) for name, p in observation.named()]

        def size(i: int) -> Tensor:
            w = observation.parameters[i].detach()
            return torch.linalg.vector_norm(w, dim=tuple(range(1, w.dim())), keepdim=True) if whole[i] else w.abs()

        return Diagonal.scaled(lambda index: [size(i) for i in index], self.eta, scaled, observation.parameters)
