"""Sizes of vectors that need no products of entries: sums and maxima of absolute values, and the norms of single tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..forms import Vectors, gathered
from ..sharded import any_sharded, own, settled, totals
from .place import reads_are_free, together


def sizes(v: Vectors, order: float) -> Tensor:
    """The p-norms of the tensors, float64, shape [len(v)]."""
    if any_sharded(v):
        return _over_mesh(settled(v), order)
    return gathered(together(lambda part: torch._foreach_norm(part, order, dtype=torch.float64), v))


def _over_mesh(v: Vectors, order: float) -> Tensor:
    """Of maxima NaN becomes infinite, which a reduction keeps."""
    found = sizes([t if t.numel() else t.new_zeros(1) for t in own(v)], order)
    if order == math.inf:
        return gathered(totals([*found.nan_to_num(math.inf, math.inf)], v, largest=True))
    return gathered(totals([*found.pow(order)], v)).pow(1 / order)


def norms(v: Vectors) -> list[Tensor]:
    """‖v_i‖₂ of each tensor, in its type."""
    if any_sharded(v):
        return [size.to(t.dtype) for size, t in zip(sizes(v, 2), v, strict=True)]
    return list(torch._foreach_norm(list(v)))


def sup(v: Vectors) -> Tensor:
    """Largest absolute entry, float64; 0 where there is none. NaN propagates."""
    filled = [t for t in v if t.numel()]
    if not filled:
        return torch.zeros((), dtype=torch.float64, device=v[0].device)
    if not reads_are_free(v):
        return sizes(filled, math.inf).amax()
    ends = (t.aminmax() for t in filled)  # without |t|, which would be another tensor
    return torch.stack([torch.maximum(-low, high).double() for low, high in ends]).amax()


def absolute_sum(v: Vectors) -> Tensor:
    """Σ |v_i|, float64."""
    return torch.stack([t.abs().sum(dtype=torch.float64) for t in v]).sum() if reads_are_free(v) else sizes(v, 1).sum()


def within_range(squares: Vectors) -> bool:
    """Whether no square under- or overflowed enough to matter. False where reading a number would synchronise."""
    return reads_are_free(squares) and (squares[0].dtype == torch.float64 or bool(1e-20 < sup(squares) < 1e30))
