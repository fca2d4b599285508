"""Entry by entry: one multi-tensor operation for each."""

from __future__ import annotations

import torch
from torch import Tensor

from ..forms import Vectors
from ..layout import alike
from ..sharded import entrywise
from .place import kinds, on_host


@entrywise
def absolute(v: Vectors) -> list[Tensor]:
    """|v|, entry by entry."""
    return list(torch._foreach_abs(list(v)))


@entrywise
def sign(v: Vectors) -> list[Tensor]:
    """The sign of each entry."""
    return list(torch._foreach_sign(list(v)))


@entrywise
def sqrt_(v: list[Tensor]) -> list[Tensor]:
    """v ← √v, entry by entry; v."""
    torch._foreach_sqrt_(v)
    return v


@entrywise
def affine_(v: list[Tensor], factor: float, shift: float) -> list[Tensor]:
    """v ← factor · v + shift, entry by entry; v."""
    if factor != 1:
        torch._foreach_mul_(v, factor)
    torch._foreach_add_(v, shift)
    return v


@entrywise
def mul(u: Vectors, v: Vectors) -> list[Tensor]:
    """u v, entry by entry, broadcast within each tensor."""
    return list(torch._foreach_mul(list(u), list(v)))


@entrywise
def div(u: Vectors, v: Vectors) -> list[Tensor]:
    """u / v, entry by entry, broadcast within each tensor."""
    return list(torch._foreach_div(list(u), list(v)))


@entrywise
def mul_(u: list[Tensor], v: Vectors) -> None:
    """u ← u v."""
    torch._foreach_mul_(u, list(v))


@entrywise
def div_(u: list[Tensor], v: Vectors) -> None:
    """u ← u / v."""
    torch._foreach_div_(u, list(v))


@entrywise
def add(u: Vectors, v: Vectors, factor: float = 1.0) -> list[Tensor]:
    """u + factor · v."""
    return list(torch._foreach_add(list(u), list(v), alpha=factor))


@entrywise
def add_(target: Vectors, v: Vectors) -> None:
    """target ← target + v, in place."""
    torch._foreach_add_(list(target), list(v))


@entrywise
def lerp(u: Vectors, v: Vectors, weight: float) -> list[Tensor]:
    """(1 − weight) · u + weight · v."""
    return list(torch._foreach_lerp(list(u), list(v), weight))


@entrywise
def zeros_like(v: Vectors) -> list[Tensor]:
    """The zero vector."""
    zero = [torch.empty_like(t, requires_grad=False) for t in v]
    torch._foreach_zero_(zero)
    return zero


@entrywise
def clone(v: Vectors) -> list[Tensor]:
    """A copy."""
    if on_host(v):
        return [t.detach().clone() for t in v]
    copy = [torch.empty_like(t, requires_grad=False) for t in v]
    copy_(copy, v)
    return copy


@entrywise
def copy_(target: Vectors, source: Vectors) -> None:
    """target ← source, in place."""
    if not target:
        return
    if on_host(target) or alike(target):
        torch._foreach_copy_(list(target), list(source))
        return
    for _, (to, of) in kinds(target, source):
        torch._foreach_copy_(to, of)
