"""The Jacobian of the outputs at one point, by its products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from .modes import adjoint, disagree, tangent
from .recording import Push, Recorder


class Jacobian:
    """J = ∂outputs/∂θ at θ. pull is autograd on a graph kept from one forward pass; push a recording where one fits.

    Jᵀ is autograd's; J is its adjoint, by whichever mode gives it (:func:`geosam.predictive.modes.disagree`). forward:
    parameters → outputs. The first product checks a recording again: ⟨u, Jv⟩ must equal ⟨Jᵀu, v⟩. This detects what equal
    outputs cannot, a derivative that changed while the outputs did not.
    """

    def __init__(self, forward: Callable[[Vectors], Tensor], theta: Vectors, recorder: Recorder | None) -> None:
        self._forward, self._theta, self._recorder = forward, [p.detach() for p in theta], recorder
        self._tested = False

    def through(self, v: Vectors, information: Callable[[Tensor], Tensor]) -> Sequence[Tensor]:
        """Jᵀ information(Jv)."""
        v = [t.to(p.dtype) for t, p in zip(v, self._theta, strict=True)]
        along = self._push(v)
        u = information(along).to(along.dtype)
        product = self.pull(u)
        if not self._tested:
            if not adjoint(along, u, v, product):
                self._distrust()
                return self.through(v, information)
            self._tested = True
        return product

    def pull(self, u: Tensor, batched: bool = False) -> Sequence[Tensor]:
        """Jᵀu; for several u if ``batched``."""
        if batched:
            _ = self._backwards  # found out before the graph is trusted
        outputs, leaves = self._graph
        if not outputs.requires_grad:
            return [torch.zeros_like(p) for p in leaves]
        with torch.no_grad():  # otherwise the products would be recorded too
            found = torch.autograd.grad(
                outputs, leaves, u, retain_graph=True, allow_unused=True, materialize_grads=True, is_grads_batched=batched
            )
        return vec.dense(found)

    @cached_property
    def _graph(self) -> tuple[Tensor, list[Tensor]]:
        # in memory of their own: a step displaces the parameters in place, and may ask for products when they are back
        leaves = [t.requires_grad_() for t in vec.clone(self._theta)]
        with torch.enable_grad():
            return self._forward(leaves), leaves

    @cached_property
    def _push(self) -> Push:
        push = None if self._recorder is None else self._recorder.at(self._theta, self._graph[0].detach())
        if push is None:
            self._tested = True
        return push or self._anew

    def _anew(self, v: Vectors) -> Tensor:
        with torch.no_grad():
            return tangent(self._program, self._theta, (), v, self._backwards)[1]

    def _program(self, parameters: Vectors, _: Vectors) -> Tensor:
        return self._forward(parameters)

    @cached_property
    def _backwards(self) -> bool:
        if self._recorder is not None:
            return self._recorder.backwards(self._theta)
        return disagree(self._program, self._theta, (), nullcontext())

    def _distrust(self) -> None:
        assert self._recorder is not None
        self._recorder.forget(self._theta)
        self.__dict__["_push"], self._tested = self._anew, True
