"""The batch loss around θ as a function that can be differentiated as often as one likes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import _vectors as vec
from ._vectors import Vectors
from .losses import widened
from .problem import Bound
from .randomness import Replay


class Surface:
    """ε ↦ L(θ + ε) of one batch, with one dropout mask; parameters, ``.grad``, buffers and random streams are left alone.

    The model runs in its own precision, the loss in float64 from the outputs on: a rise is a difference of nearly equal
    losses.
    """

    def __init__(self, bound: Bound, theta: Vectors) -> None:
        self.theta = vec.map(lambda t: t.detach(), theta)
        self._call, self._x, self._y = bound.pure(bound.parameters), bound.x, widened(bound.y)
        self._loss = copy.deepcopy(bound.loss).double() if isinstance(bound.loss, nn.Module) else bound.loss
        self._replay = Replay.now(self.theta)

    def loss(self, epsilon: Vectors) -> Tensor:
        """L(θ + ε), a 0-dimensional float64 tensor."""
        with torch.no_grad():
            return self._at(self._moved(epsilon))

    def gradient(self, epsilon: Vectors) -> list[Tensor]:
        """∇L(θ + ε), in the parameters' type."""
        leaves, loss = self._recorded(epsilon)
        return list(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))

    def hessian(self) -> Callable[[Vectors], list[Tensor]]:
        """v ↦ Hv, H = ∇²L(θ), in the parameters' type: reverse mode twice, the graph of ∇L recorded once."""
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            leaves, loss = self._recorded(vec.zeros_like(self.theta))
            slope = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
        curved = [i for i, g in enumerate(slope) if g.requires_grad]  # where ∇L is constant there is no graph to follow

        def product(v: Vectors) -> list[Tensor]:
            if not curved:
                return vec.zeros_like(leaves)
            tangents = [v[i].to(leaves[i].dtype) for i in curved]
            found = torch.autograd.grad(
                [slope[i] for i in curved], leaves, tangents, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            return list(found)

        return product

    def _recorded(self, epsilon: Vectors) -> tuple[list[Tensor], Tensor]:
        leaves = [t.requires_grad_() for t in self._moved(epsilon)]
        with torch.enable_grad():
            return leaves, self._at(leaves)

    def _moved(self, epsilon: Vectors) -> list[Tensor]:
        return [p + e.detach().to(p.dtype) for p, e in zip(self.theta, epsilon, strict=True)]

    def _at(self, values: Vectors) -> Tensor:
        with self._replay:
            outputs = self._call(values, self._x)
        loss: Callable[[Any, Any], Tensor] = self._loss
        return loss(widened(outputs), self._y).double()
