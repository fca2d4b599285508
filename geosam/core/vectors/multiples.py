"""Multiples of vectors by a factor that may lie on the device or beyond the range of float32, and sums with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..forms import Scalar, Vectors
from ..layout import fusible
from ..sharded import entrywise
from .entries import add
from .place import kinds, reads_are_free, together
from .selection import kept

_SAFE_FACTOR = 1e38
_WIDE = (torch.float32, torch.float64)
_LARGEST = torch.finfo(torch.float32).max / 2


def over(number: float, size: Tensor) -> Tensor:
    """number / size, the factor that gives a vector of this size that length; 0 where size is 0 or not finite.

    On an accelerator factors are rounded to float32, and one beyond its range is 0 too: a vector of denormal numbers is none.
    """
    if not reads_are_free([size]):
        size = torch.nn.functional.threshold(size, number / _LARGEST, 0.0)
    return (number / size).nan_to_num(0.0, 0.0, 0.0)


@entrywise
def scale(v: Vectors, factor: Scalar) -> list[Tensor]:
    """factor · v. A tensor factor stays on the device; it is not rounded to a type below float32."""
    if isinstance(factor, Tensor) and reads_are_free(v):
        factor = factor.item()
    if isinstance(factor, Tensor):  # in two steps within the range of float32; 0 / 0 stands for no second one
        near = factor.clamp(-_LARGEST, _LARGEST)
        far = (factor / near).nan_to_num(1.0, math.inf, -math.inf)
        return together(lambda part: _scaled(far, list(_scaled(near, part))), v)
    if abs(factor) > _SAFE_FACTOR:  # infinite in float32; 1/‖v‖ is so large for a v of denormal numbers
        return [(t.double() * factor).to(t.dtype) for t in v]
    return list(torch._foreach_mul(list(v), factor))


def _scaled(factor: Tensor, v: list[Tensor]) -> Sequence[Tensor]:
    if v[0].dtype.itemsize < 4:
        factor = factor.to(v[0].device, torch.float32)
        return [(t.float() * factor).to(t.dtype) for t in v]
    return torch._foreach_mul(v, factor.to(v[0].device, v[0].dtype))  # of one type, or it is a launch a tensor


@entrywise
def scale_(v: Vectors, factor: Tensor) -> None:
    """v ← factor · v, in place. The factor stays on the device; it is not rounded to a type below float32."""
    if reads_are_free(v):
        if (number := factor.item()) != 1:
            torch._foreach_mul_(list(v), number)
        return
    for _, (part,) in kinds(v):
        torch._foreach_mul_(part, factor.to(part[0].device, torch.promote_types(part[0].dtype, torch.float32)))


@entrywise
def axpy(u: Vectors, factor: Scalar, v: Vectors) -> list[Tensor]:
    """u + factor · v for a factor that may be a tensor on the device."""
    if isinstance(factor, Tensor) and reads_are_free(v):
        factor = factor.item()
    if isinstance(factor, Tensor) or abs(factor) > _SAFE_FACTOR or any(t.dtype not in _WIDE for t in u):
        return add(u, scale(v, factor))  # torch rounds alpha to the tensors' type, and raises where it overflows
    return add(u, v, factor)


@entrywise
def axpy_(u: Vectors, factor: Tensor, v: Vectors, where: Tensor) -> None:
    """u ← u + factor · v on an accelerator, where the 0-dimensional condition holds; else u is left as it is."""
    for _, parts in kinds(u, v):
        _axpy_(factor, where, *parts)


def _axpy_(factor: Tensor, where: Tensor, u: list[Tensor], v: list[Tensor]) -> None:
    if not fusible(u, v):
        torch._foreach_add_(u, kept(where, list(_scaled(factor, v))))
        return
    rate = factor.to(u[0].device, torch.float32)
    skip = torch.logical_not(where.to(rate.device), out=torch.empty_like(rate))
    # One kernel that rounds once: SGD with step size −factor, skipped by the flag that a gradient scaler would give it.
    unused: dict[str, Any] = {"weight_decay": 0.0, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "is_first_step": False}
    torch._fused_sgd_(u, v, [], lr=rate, maximize=True, found_inf=skip, **unused)


@entrywise
def axpby_(factor: Tensor, u: Vectors, number: float, v: Vectors) -> None:
    """u ← factor · u + number · v, in place."""
    if reads_are_free(u):
        for a, b in zip(u, v, strict=True):
            a.mul_(factor).add_(b, alpha=number)
        return
    for _, (one, other) in kinds(u, v):
        torch._foreach_mul_(one, factor.to(one[0].device, one[0].dtype))
        torch._foreach_add_(one, other, alpha=number)


@entrywise
def stepped(u: Vectors, factor: Tensor, v: Vectors) -> list[Tensor]:
    """u + factor · v, rounded once where reads are free: bit for bit as ``Move.displace``."""
    if reads_are_free(u):
        number = factor.item()
        return [torch.add(a, b, alpha=number) for a, b in zip(u, v, strict=True)]
    return add(u, scale(v, factor))
