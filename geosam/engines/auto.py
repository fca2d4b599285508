"""The engine that fits the model and the quantity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .._vectors import Vectors
from ..rows import Engine, Rows
from .backpack import BackPACK
from .func import Func

if TYPE_CHECKING:
    from ..problem import Bound


@dataclass(frozen=True)
class Auto(Engine):
    """BackPACK for sums of squares where every parameter belongs to a plain ``nn.Linear`` used once; Func for all else.

    The rule follows measurement: (δ²)ᵀ(a²) avoids rows altogether on linear layers, while on convolutions, and wherever the
    rows themselves are wanted, vmap is as fast or faster and right for every layer.
    """

    def rows(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, Rows]:
        """From Func."""
        return Func().rows(bound, parameters)

    def squares(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """From the engine chosen."""
        try:
            return self.choose(bound, parameters).squares(bound, parameters)
        except OverflowError:  # gradients near 1e-25 or 1e18, whose squares only Func takes in float64
            return Func().squares(bound, parameters)

    def choose(self, bound: Bound, parameters: Vectors) -> Engine:
        """The engine for sums of squares."""
        owners: dict[int, list[nn.Module]] = {}
        for module in bound.model.modules():
            for p in module.parameters(recurse=False):
                owners.setdefault(id(p), []).append(module)
        linear = all(len(owners[id(p)]) == 1 and type(owners[id(p)][0]) is nn.Linear for p in parameters)
        return BackPACK() if linear and all(type(m) in _PLAIN for m in bound.model.modules()) else Func()


# modules without a forward of their own making, in which a parameter cannot be used a second time
_PLAIN = (nn.Sequential, nn.Linear, nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Flatten, nn.Identity, nn.Dropout)
