"""v ↦ Jv by forward mode, where it is the adjoint of autograd's Jᵀ, and by reverse mode twice where it is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..core import Vectors
from ..core import vectors as vec
from ..core.limits import agreement, rounding
from ..core.undo import Attempt
from ..problem.gradient import refuse_hidden
from .tangents import Normalisations, forward_mode

Program = Callable[[Vectors, Vectors], Tensor]
"""(parameters, other tensors that the forward pass reads) → outputs."""


def tangent(program: Program, theta: Vectors, rest: Vectors, v: Vectors, backwards: bool = False) -> tuple[Tensor, Tensor]:
    """(outputs, Jv) by forward mode; if ``backwards`` Jv is the derivative of u ↦ ⟨Jᵀu, v⟩, by reverse mode twice."""
    with forward_mode():
        if not backwards:
            with forward_ad.dual_level(), Normalisations():
                duals = [forward_ad.make_dual(p, t) for p, t in zip(theta, v, strict=True)]
                outputs, along = forward_ad.unpack_dual(program(duals, rest))
                return outputs, torch.zeros_like(outputs) if along is None else along
        leaves = [p.detach().requires_grad_() for p in theta]
        with torch.enable_grad():
            outputs = program(leaves, rest)
            u = torch.zeros_like(outputs, requires_grad=True)
            pulled = torch.autograd.grad(outputs, leaves, u, create_graph=True, allow_unused=True, materialize_grads=True)
        (along,) = torch.autograd.grad(vec.dense(pulled), u, list(v), allow_unused=True, materialize_grads=True)
        return outputs.detach(), along


def disagree(program: Program, theta: Vectors, rest: Vectors, replay: AbstractContextManager[object]) -> bool:
    """Whether Jv takes reverse mode twice, by one irregular v: forward mode has no rule for an operation, or another one.

    ``Embedding(padding_idx=0)`` moves with its row 0 in forward mode and gives it no gradient in reverse mode. The gradient is
    reverse mode's, so Jᵀ is right. Raises: ValueError where neither way gives its adjoint; RuntimeError for reentrant
    checkpoints.
    """
    v = [torch.cos(torch.arange(p.numel(), device=p.device) * 2.4 + 1).reshape(p.shape).to(p.dtype) for p in theta]
    leaves = [p.detach().requires_grad_() for p in theta]
    with torch.enable_grad(), replay, forward_mode():
        outputs = program(leaves, rest)
        if not outputs.requires_grad:
            return False
        u = torch.sin(torch.arange(outputs.numel(), device=outputs.device) * 2.4 + 1).reshape(outputs.shape).to(outputs.dtype)
        by_graph = torch.autograd.grad(outputs, leaves, u, retain_graph=True, allow_unused=True, materialize_grads=True)
        pulled = vec.dense(by_graph)
        refuse_hidden(outputs, leaves, u, pulled)

    def along(backwards: bool) -> Tensor | None:
        attempt = Attempt()
        try:
            with torch.no_grad(), replay:
                found = tangent(program, theta, rest, v, backwards)[1]
        except RuntimeError as error:  # an operation without a rule, or with one that cannot be differentiated
            attempt.refused(error)
            return None
        return found if adjoint(found, u, v, pulled) else None

    # by its adjoint, too: past a backward that is marked once_differentiable, reverse mode twice leaves out without a word
    forward, twice = along(False), along(True)
    if twice is None and forward is None:
        raise ValueError(
            "neither forward mode nor reverse mode taken twice gives the adjoint of the model's backward pass: of an "
            "operation, or a torch.autograd.Function, the jvp is missing or wrong and backward cannot be differentiated. So "
            "there are no products with the Fisher matrix. Mend the jvp, or write backward in operations of torch, without "
            "once_differentiable."
        )
    if twice is None or forward is None:
        return forward is None
    gap = torch.linalg.vector_norm((forward - twice).double())
    return bool(gap > tolerance(twice) * torch.linalg.vector_norm(twice.double()))


def tolerance(along: Tensor) -> float:
    """Relative, for two ways to compute Jv: that of the narrowest type in use, autocast's included."""
    device = along.device.type
    cast = [torch.get_autocast_dtype(device)] if torch.is_autocast_enabled(device) else []
    return max(map(rounding, (along.dtype, *cast)))


def adjoint(along: Tensor, u: Tensor, v: Vectors, product: Vectors) -> bool:
    """Whether ⟨u, Jv⟩ = ⟨Jᵀu, v⟩ up to rounding; NaN counts as equal."""
    right, left = vec.dot(product, v), vec.dot([u], [along])
    size = left.abs() + 0.01 * vec.norm(product) * vec.norm(v)  # ⟨v, Fv⟩ may nearly vanish
    return not (left - right).abs() > agreement(*(t.dtype for t in (along, *product))) * size
