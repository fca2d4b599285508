"""One vector or another by a condition that stays on the device: on integers with the same bits, for 0 · NaN is NaN."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..forms import Vectors
from ..layout import bits_of, flag
from ..sharded import entrywise
from .entries import zeros_like
from .place import kinds, reads_are_free, together


@entrywise
def select(condition: Tensor, u: Vectors, v: Vectors) -> list[Tensor]:
    """u where the 0-dimensional condition holds, else v, whatever the other holds."""
    if reads_are_free(u):
        return list(u if condition else v)
    return together(partial(_selected, condition), u, v)


def _selected(condition: Tensor, u: list[Tensor], v: list[Tensor]) -> list[Tensor]:
    one, other = bits_of(u), bits_of(v)
    chosen = torch._foreach_mul(one, flag(condition, one))
    torch._foreach_add_(chosen, torch._foreach_mul(other, flag(~condition, other)))
    return [t.view(a.dtype) for t, a in zip(chosen, u, strict=True)]


@entrywise
def keep(condition: Tensor, v: Vectors) -> list[Tensor]:
    """v where the 0-dimensional condition holds, else 0, whatever v holds."""
    if reads_are_free(v):
        return list(v) if condition else zeros_like(v)
    return together(partial(kept, condition), v)


def kept(condition: Tensor, v: list[Tensor]) -> list[Tensor]:
    """:func:`keep` of tensors of one type and device, without a read."""
    bits = bits_of(v)
    return [t.view(a.dtype) for t, a in zip(torch._foreach_mul(bits, flag(condition, bits)), v, strict=True)]


@entrywise
def keep_(condition: Tensor, v: Vectors) -> None:
    """The same in place."""
    if reads_are_free(v):
        if not condition:
            torch._foreach_zero_(list(v))
        return
    for _, (part,) in kinds(v):
        bits = bits_of(part)
        torch._foreach_mul_(bits, flag(condition, bits))
