"""The batch loss around θ, with its gradient and Hessian products: the only place for L(θ + ε)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..core import Vectors
from ..core import vectors as vec
from ..core.undo import undisturbed
from .batch import Batch
from .functional import without_reentrant
from .gradient import filled, gradients, hook_alike, refuse_hidden
from .modules import structure
from .outputs import detached
from .probe import agree
from .randomness import Replay
from .reading import calls_python, tensors

Product = Callable[[Vectors], list[Tensor]]
"""v ↦ Hv."""


def around(batch: Batch, theta: Vectors | None = None, replay: Replay | None = None, wide: bool = True) -> Surface:
    """ε ↦ L(θ + ε) of a bound problem, by default at its parameters and from the current random state on.

    wide: the loss is computed in float64 from the outputs on, because a rise is a difference of nearly equal losses.
    Raises: ValueError where the loss reads parameters in a way that no other values reach; found once for each structure.
    """
    parameters, replay = batch.parameters, replay or batch.replay()
    evaluate = batch.evaluation(parameters)

    def at(values: Vectors, wide: bool = wide) -> Tensor:
        outputs, copy = evaluate(values, batch.x)
        return batch.quiet_loss(outputs, values, wide, copy)

    def slope(theta: Vectors, values: Vectors | None) -> list[Tensor]:
        with torch.enable_grad(), replay:
            outputs, copy = batch.joint(parameters)(theta, batch.x)
            if any(map(calls_python, tensors(outputs))):  # reentrant checkpoints have no such derivative: what is read alone
                outputs = detached(outputs)
            loss = batch.quiet_loss(outputs, values, copy=copy)
            if not loss.requires_grad:
                return vec.zeros_like(theta)
            # no backward(): hooks after accumulation, such as an optimizer's, would run
            return vec.dense(torch.autograd.grad(loss, theta, allow_unused=True, materialize_grads=True))

    @without_reentrant()
    def check() -> bool:
        leaves = [p.detach().requires_grad_() for p in parameters]
        if not agree(slope(parameters, None), slope(leaves, leaves)):
            raise ValueError(
                "the loss reads the model's parameters in a way that other values cannot reach (inside a transform of "
                "torch.func, or as memory), so that L(θ + ε) is not known. Let it read them by plain operations of torch."
            )
        return True

    if not batch.sample.known:
        batch.remembered(("reached", *structure(batch.model, parameters)), check)
    return Surface(parameters if theta is None else theta, at, replay, parameters)


class Surface:
    """ε ↦ L(θ + ε) of one batch, with one dropout mask; parameters, ``.grad``, buffers and the random state are unchanged.

    at: values of the parameters → the loss, checked. replay: the random numbers. hooked: the parameters, whose hooks on
    gradients change that at θ + ε as they change that at θ.
    """

    def __init__(self, theta: Vectors, at: Callable[[Vectors], Tensor], replay: Replay, hooked: Vectors = ()) -> None:
        self.theta = vec.map(lambda t: t.detach(), theta)
        self._loss, self._replay, self._hooked = at, replay, hooked

    @undisturbed
    def loss(self, epsilon: Vectors) -> Tensor:
        """L(θ + ε), 0-dimensional, float64."""
        with torch.no_grad():
            return self._at(self._moved(epsilon)).double()

    @undisturbed
    def rise(self, epsilon: Vectors) -> float:
        """L(θ + ε) − L(θ)."""
        with torch.no_grad():
            return (self._at(self._moved(epsilon)).double() - self._at(self.theta).double()).item()

    @undisturbed
    @without_reentrant()
    def gradient(self, epsilon: Vectors) -> list[Tensor]:
        """∇L(θ + ε), in the parameters' type, dense, after hooks of the parameters."""
        leaves, loss = self._recorded(epsilon)
        hook_alike(leaves, self._hooked)
        return filled(gradients(loss, (), leaves), leaves) if loss.requires_grad else vec.zeros_like(leaves)

    @undisturbed
    @without_reentrant()
    def hessian(self) -> Product:
        """v ↦ Hv, H = ∇²L(θ), in the parameters' type: reverse mode twice, the graph of ∇L recorded once."""
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            leaves, loss = self._recorded(vec.zeros_like(self.theta))
            slope = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
            refuse_hidden(loss, leaves, torch.ones_like(loss), [s.detach() for s in vec.dense(slope)])
        curved = [i for i, g in enumerate(slope) if g.requires_grad]  # where ∇L is constant there is no graph to follow

        @undisturbed
        @without_reentrant()
        def product(v: Vectors) -> list[Tensor]:
            if not curved:
                return vec.zeros_like(leaves)
            # copies: a view may begin where torch.view_as_complex cannot
            tangents = [v[i].to(leaves[i].dtype, copy=True) for i in curved]
            found = torch.autograd.grad(
                [slope[i] for i in curved], leaves, tangents, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            return vec.dense(found)

        return product

    def _recorded(self, epsilon: Vectors) -> tuple[list[Tensor], Tensor]:
        """(leaves at θ + ε, L of them with its graph)."""
        leaves = [t.requires_grad_() for t in self._moved(epsilon)]
        with torch.enable_grad():
            return leaves, self._at(leaves)

    def _moved(self, epsilon: Vectors) -> list[Tensor]:
        return [p + e.detach().to(p.dtype) for p, e in zip(self.theta, epsilon, strict=True)]

    def _at(self, values: Vectors) -> Tensor:
        with self._replay:
            return self._loss(values)
