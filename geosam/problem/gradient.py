"""The batch gradient by backward: of the model itself in a training step, of private leaves otherwise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..core.sharded import any_sharded
from .batch import Batch
from .functional import REENTRANT
from .probe import agree
from .reading import calls_python, leaves

_UNREDUCED = (
    "no sharded parameter has a gradient after the first pass: inside set_requires_gradient_sync(False) it is kept where the "
    "second pass's is added to it. Leave out that call, for this is no place to save communication: each micro-batch has an ε* "
    "of all processes; or use opt.step([problem.on(x1, y1), ...]), one ball for all micro-batches."
)


def backward(batch: Batch, outputs: Any, parameters: Vectors) -> tuple[Tensor, list[Tensor]]:
    """(L, ∇L) from the outputs of the model's own parameters, in a training step; L is detached."""
    loss = batch.batch_loss(outputs)
    root, others = batch.differentiated(loss), list(batch.model.parameters())
    each = apart(root, parameters) if batch.hookless else gradients(root, outputs, parameters, others)
    if any_sharded(parameters) and all(g is None for g in each):
        raise NotImplementedError(_UNREDUCED)
    found = filled(each, parameters)
    return loss.detach(), found if batch.scale == 1 else vec.scale(found, 1 / batch.scale)


def gradient(batch: Batch, parameters: Vectors) -> tuple[Tensor, Any, list[Tensor]]:
    """(L, outputs, ∇L) by private leaves: no ``.grad`` of a parameter is touched."""
    values = private(parameters)
    outputs, copy = batch.joint(parameters)(values, batch.x)
    loss = batch.quiet_loss(outputs, values, copy=copy)
    return loss.detach(), outputs, filled(gradients(loss, outputs, values), values)


def raise_own(batch: Batch, parameters: Vectors) -> None:
    """Raise what plain autograd raises on this batch, if anything: it is the model's own or the loss's, whatever the way.

    For where another way has failed, before a third one is taken from then on.
    """
    with torch.enable_grad(), batch.replay():
        gradient(batch, parameters)


def private(parameters: Vectors) -> list[Tensor]:
    """Leaves that share the parameters' memory and their hooks on gradients."""
    values = [p.detach().requires_grad_() for p in parameters]
    hook_alike(values, parameters)
    return values


def hook_alike(values: Vectors, parameters: Vectors) -> None:
    """Give leaves the parameters' hooks on gradients."""
    for p, leaf in zip(parameters, values, strict=False):
        for hook in (p._backward_hooks or {}).values():
            leaf.register_hook(hook)


def gradients(
    loss: Tensor, outputs: Any, values: Vectors, others: Vectors = (), u: Tensor | None = None
) -> list[Tensor | None]:
    """∇loss by ``backward`` (hooks of wrappers run, checkpoints work), dense; None for values that are not reached.

    ``.grad`` is restored: of ``others``, of the values, and of what the loss reads besides the outputs. u: ∇⟨u, loss⟩ of a
    loss that is no number, whose graph is kept.
    """
    kept = [(t, t.grad) for t in (*others, *values, *leaves(loss, outputs))]
    for t, _ in kept:
        t.grad = None
    try:
        loss.backward(u, retain_graph=u is not None)
        return [t.grad.to_dense() if t.grad is not None and t.grad.is_sparse else t.grad for t in values]
    finally:
        for t, grad in kept:
            t.grad = grad


def apart(loss: Tensor, values: Vectors) -> list[Tensor | None]:
    """As :func:`gradients`, by the graph alone: hooks that wait for ``.grad`` do not run.

    Raises: RuntimeError where a checkpoint's own backward pass may have to reach a parameter.
    """
    found = torch.autograd.grad(loss, list(values), allow_unused=True)
    if any(g is None for g in found) and calls_python(loss):
        raise RuntimeError(REENTRANT)
    return [g.to_dense() if g is not None and g.is_sparse else g for g in found]


def refuse_hidden(root: Tensor, values: Vectors, u: Tensor, found: Vectors) -> None:
    """RuntimeError where ``found``, ⟨u, root⟩'s gradients by the graph, are not those of a backward pass, whose graph is kept.

    Reentrant checkpoints reach the parameters that they use by a backward pass of their own, and not by the graph: these seem
    to be used nowhere, and torch gives no error.
    """
    if calls_python(root) and not agree(found, filled(gradients(root, root, values, u=u), values)):
        raise RuntimeError(REENTRANT)


def refuse_hooks(batch: Batch, parameters: Vectors) -> None:
    """ValueError naming parameters whose hooks change gradients, large or small ones: products with the Fisher matrix and
    Kronecker factors know nothing of that."""
    hooked = [p for p in parameters if p._backward_hooks]
    if not hooked:
        return
    changed = []
    for p, leaf in zip(hooked, private(hooked), strict=True):
        r = torch.sin(torch.arange(p.numel(), device=p.device) * 2.4 + 1).reshape(p.shape).to(p.dtype)
        for size in (1.0, 1e4):
            leaf.grad = None
            with torch.enable_grad():
                (leaf * r).sum().backward(torch.full((), size, dtype=p.dtype, device=p.device))
            if leaf.grad is None or not torch.equal(leaf.grad, r * size):
                changed.append(p)
                break
    if changed:
        raise ValueError(
            f"{', '.join(batch.names(changed))}: a hook on the parameter changes its gradient, which products with the Fisher "
            "matrix and its factors do not see. Choose a metric of the gradient (Euclidean, GradientMagnitude), or remove the "
            "hook and leave what it masks out of the optimizer."
        )


def filled(found: list[Tensor | None], like: Vectors) -> list[Tensor]:
    """With zeros where nothing was found."""
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, like, strict=True)]
