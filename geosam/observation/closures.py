"""An observation from a plain PyTorch closure: the batch gradient and the loss."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..core.undo import pass_on
from .observation import Observation

Closure = Callable[[], Any]
Seen = tuple["weakref.ref[Tensor]", int] | None
"""A gradient and its version, without a hold on its memory."""


class Skipped(TypeError):
    """The closure returned None and left no gradient: it skips this batch."""


def observe_closure(closure: Closure, parameters: Vectors, names: Sequence[str] | None) -> Observation:
    """Run the closure once; a None gradient counts as zero. Raises as :func:`run`."""
    loss = run(closure, parameters)
    gradient = vec.dense([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
    return Observation(parameters, gradient, loss, names)


def run(closure: Closure, parameters: Vectors, changed: bool = True) -> Tensor:
    """Run the closure with gradients enabled; return its loss, detached. changed: whether gradients must be others than before.

    Raises: TypeError if it returns no loss, as :class:`Skipped` where it computed no gradient either;
    RuntimeError if it never called backward.
    """
    before = [seen(p) for p in parameters]
    with torch.enable_grad():
        loss = closure()
    same = [p.grad is None or still(p, known, version=True) for p, known in zip(parameters, before, strict=True)]
    if loss is None:
        if all(kept or not p.grad.any() for kept, p in zip(same, parameters, strict=True)):  # type: ignore[union-attr]
            raise Skipped("the closure returned None and computed no gradient, and its batch was skipped")
        raise TypeError("the closure returned None; it must return the loss (zero_grad, forward, backward, return loss)")
    if changed and all(same):
        raise RuntimeError("the closure left every gradient as it was: it must zero gradients and call loss.backward()")
    return _number(loss)


def _number(loss: Any) -> Tensor:
    try:
        found = torch.as_tensor(loss).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        pass_on(error)
        found = None
    if found is None or found.numel() != 1:
        shape = "" if found is None else f" of shape {tuple(found.shape)}"
        raise TypeError(
            f"the closure returned a {type(loss).__name__}{shape}; it must return one number, the loss that it differentiated"
        )
    return found.reshape(())


class Zeroing:
    """Whether a closure zeroes gradients at its start, so that those of one pass are not in the next one's.

    Seen by identity where it sets them to None, as ``zero_grad()`` does, in every step and at no cost. Where they stay in
    place, zeroing is told from adding up by NaN that is put into what the pass before left: in the first step, and then in
    every step as long as they stay in place. A closure that begins to leave them in place costs one more pass, once. One that
    assigns tensors of its own, the same in every pass, is not looked at again. On an accelerator NaN is read once: where a
    closure stops zeroing in place later on, the NaN that it adds to has its updates withheld.
    """

    def __init__(self) -> None:
        self.in_place, self.supplied, self.known = True, False, False

    def run_again(self, closure: Closure, parameters: Vectors) -> Tensor:
        """:func:`run` for a second pass. Raises: RuntimeError if gradients of the first pass are in those of the second."""
        if self.supplied:
            return run(closure, parameters, changed=False)
        loss, stayed = self._pass(closure, parameters, self.in_place)
        if stayed and not self.in_place:
            loss, stayed = self._pass(closure, parameters, True)
        self.in_place = bool(stayed)
        read = vec.reads_are_free(parameters) or not self.known
        if read and any(_values(p).isnan().all() for p in stayed) and not self._nan_of_itself(closure, stayed):
            for p in parameters:
                p.grad = None
            raise RuntimeError(
                "the closure adds to the gradients of the pass before: it must zero all of them at its start, by "
                "opt.zero_grad(). Gradients that a trainer accumulates over several calls cannot be used: loop over the "
                "micro-batches inside the closure, or call opt.perturb(problem.on(x, y)) before each forward pass and let the "
                "trainer step opt.base (Lightning: geosam.contrib.lightning.Callback)."
            )
        self.known = self.in_place
        return loss

    def _pass(self, closure: Closure, parameters: Vectors, mark: bool) -> tuple[Tensor, Vectors]:
        """(the loss, the parameters whose gradient is the same tensor as before)."""
        own = [seen(p) for p in parameters]
        if mark:
            _mark(parameters)
        before = [seen(p) for p in parameters]
        loss = run(closure, parameters, changed=mark)
        given = [still(p, known) for p, known in zip(parameters, own, strict=True) if p.grad is not None]
        self.supplied = mark and bool(given) and all(given)
        return loss, [p for p, known in zip(parameters, before, strict=True) if still(p, known)]

    @staticmethod
    def _nan_of_itself(closure: Closure, stayed: Vectors) -> bool:
        """Whether a pass without the mark gives NaN too."""
        for p in stayed:
            p.grad = None
        run(closure, stayed)
        return any(p.grad is not None and bool(_values(p).isnan().any()) for p in stayed)


def _mark(parameters: Vectors) -> None:
    """NaN in place of the gradients, in other tensors: those of the pass before may be the closure's own."""
    held = [p for p in parameters if p.grad is not None]
    for p in held:
        g = p.grad
        assert g is not None
        p.grad = g.clone() if g.is_sparse else torch.empty_like(g)
    if held:
        vec.affine_([_values(p) for p in held], math.nan, 0.0)


def seen(parameter: Tensor) -> Seen:
    """The parameter's gradient, to be known again."""
    return None if parameter.grad is None else (weakref.ref(parameter.grad), parameter.grad._version)


def still(parameter: Tensor, known: Seen, version: bool = False) -> bool:
    """Whether the gradient is the one that was seen; with ``version`` also whether nobody has written to it."""
    g = parameter.grad
    return known is not None and g is not None and g is known[0]() and (not version or g._version == known[1])


def _values(parameter: Tensor) -> Tensor:
    g = parameter.grad
    assert g is not None
    return g._values() if g.is_sparse else g
