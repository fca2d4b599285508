"""⟨u, v⟩ and what comes of it, right at every scale of float32: sums are in float64, or redone there where one is extreme."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..forms import Vectors, flatten, gathered
from ..sharded import any_sharded, entrywise, families, settled, totals
from .place import kinds, reads_are_free
from .sizes import sizes

# Products below 1.2e-38 lose bits in float32. A sum of up to 1e9 terms above this value has lost at most 1e-7 of itself.
_SAFE_SUM = 1e-22

# Longer sums are taken in pieces of this many terms: float32 accumulation loses 1e-3 to 1e-2 over 2e7 terms.
_PIECE = 2**18

_BLOCK = 2**24


def dot(u: Vectors, v: Vectors) -> Tensor:
    """⟨u, v⟩ as a 0-dimensional float64 tensor, safe against under- and overflow of the vectors' own precision."""
    if reads_are_free(u):
        return map_dot(lambda i, t: v[i], u)[1]
    if all(a is b for a, b in zip(u, v, strict=True)):
        return norm(u).square()
    if any_sharded(u) or any_sharded(v):
        return _dot_over_mesh(settled(u), v)
    return _own_dot(u, v)


def _dot_over_mesh(u: Vectors, v: Vectors) -> Tensor:
    index = families(u)
    numbers = [_own_dot([u[i] for i in each], [v[i] for i in each]) for each in index]
    return gathered(totals(numbers, [u[each[0]] for each in index])).sum()


@entrywise
def _own_dot(u: Vectors, v: Vectors) -> Tensor:
    """⟨u, v⟩ of this process's parts."""
    return gathered([each for _, parts in kinds(u, v) for each in _dots(*parts)]).sum()


def _dots(u: list[Tensor], v: list[Tensor]) -> list[Tensor]:
    """⟨u, v⟩ in float64 blocks that are formed and then discarded: one number a block."""
    found, start, size = [], 0, 0
    for end, t in enumerate(u, 1):
        size += t.numel()
        if size > _BLOCK or end == len(u):
            found.append(torch.dot(*(flatten(w[start:end]).double() for w in (u, v))))
            start, size = end, 0
    return found


def map_dot(f: Callable[[int, Tensor], Tensor], u: Vectors) -> tuple[list[Tensor], Tensor]:
    """v with vᵢ = f(i, uᵢ), and ⟨u, v⟩: each product is computed while its tensors are in a CPU's cache."""
    v, total, exact = [], 0.0, reads_are_free(u)
    for i, t in enumerate(u):
        v.append(f(i, t))
        exact = exact and t.dtype == v[-1].dtype == torch.float32
        if exact:
            total += _dot32(t, v[-1])
    if exact and math.isfinite(total) and abs(total) > _SAFE_SUM:
        return v, torch.tensor(total, dtype=torch.float64)
    device = u[0].device
    return v, torch.stack([_dot64(a, b).to(device) for a, b in zip(u, v, strict=True)]).sum()


def _dot32(a: Tensor, b: Tensor) -> float:
    a, b = (a.flatten(),) * 2 if a is b else (a.flatten(), b.flatten())
    if a.numel() <= _PIECE:
        return torch.dot(a, b).item()
    return sum(torch.dot(*pair).item() for pair in zip(a.split(_PIECE), b.split(_PIECE), strict=True))


def _dot64(a: Tensor, b: Tensor) -> Tensor:
    if a is b:
        return torch.linalg.vector_norm(a, dtype=torch.float64).square()
    return (a.double() * b.double()).sum()


def norm(v: Vectors) -> Tensor:
    """Euclidean norm ‖v‖₂, float64."""
    return dot(v, v).sqrt() if reads_are_free(v) else torch.linalg.vector_norm(sizes(v, 2))


def finite(v: Vectors) -> Tensor:
    """Whether every entry is finite, on the device: one pass over v."""
    return torch.isfinite(dot(v, v)) if reads_are_free(v) else sizes(v, 1).sum() < math.inf
