"""Algebra on lists of tensors: the only file that knows how a vector is stored.

A vector is a sequence of tensors with the parameters' shapes, in parameter order. Returned scalars are 0-dimensional
float64 tensors on the vector's device: a dual norm may lie between 1e-25 and 1e18, and its square leaves the range of float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

Vectors = Sequence[Tensor]
Scalar = Tensor | float

# Products below 1.2e-38 lose bits in float32. A sum of up to 1e9 terms above this value has lost at most 1e-7 of itself.
_SAFE_SUM = 1e-22

# Longer sums are taken in pieces of this many terms: float32 accumulation loses 1e-3 to 1e-2 over 2e7 terms.
_PIECE = 2**18

_SAFE_FACTOR = 1e38
_WIDE = (torch.float32, torch.float64)


def reads_are_free(v: Vectors) -> bool:
    """Whether the host can read a number without synchronisation: on a CPU, and not while a graph is traced."""
    return not torch.compiler.is_compiling() and all(t.is_cpu for t in v)


def as_given(like: Tensor) -> AbstractContextManager[Any]:
    """A context in which products keep their factors' precision: autocast is off."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def dot(u: Vectors, v: Vectors) -> Tensor:
    """⟨u, v⟩ as a 0-dimensional float64 tensor, safe against under- and overflow of the vectors' own precision."""
    return map_dot(lambda i, t: v[i], u)[1]


def map_dot(f: Callable[[int, Tensor], Tensor], u: Vectors) -> tuple[list[Tensor], Tensor]:
    """v with vᵢ = f(i, uᵢ), and ⟨u, v⟩: each product is computed while its tensors are in the cache."""
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
    return dot(v, v).sqrt()


def sup(v: Vectors) -> Tensor:
    """Largest absolute entry, float64. NaN propagates."""
    device = v[0].device
    return torch.stack([t.abs().amax().to(device, torch.float64) for t in v if t.numel()]).amax()


def within_range(squares: Vectors) -> bool:
    """Whether no square under- or overflowed enough to matter. False where reading a number would synchronise."""
    return reads_are_free(squares) and (squares[0].dtype == torch.float64 or bool(1e-20 < sup(squares) < 1e30))


def absolute_sum(v: Vectors) -> Tensor:
    """Σ |v_i|, float64."""
    device = v[0].device
    return torch.stack([t.abs().sum(dtype=torch.float64).to(device) for t in v]).sum()


def scale(v: Vectors, factor: Scalar) -> list[Tensor]:
    """factor · v. A tensor factor stays on the device; it is not rounded to the vectors' precision first."""
    if isinstance(factor, Tensor) and reads_are_free(v):
        factor = factor.item()
    if isinstance(factor, Tensor):
        return [(t * factor.to(t.device)).to(t.dtype) for t in v]
    if abs(factor) > _SAFE_FACTOR:  # infinite in float32; 1/‖v‖ is so large for a v of denormal numbers
        return [(t.double() * factor).to(t.dtype) for t in v]
    return list(torch._foreach_mul(list(v), factor))


def add(u: Vectors, v: Vectors, factor: float = 1.0) -> list[Tensor]:
    """u + factor · v."""
    return list(torch._foreach_add(list(u), list(v), alpha=factor))


def axpy(u: Vectors, factor: Scalar, v: Vectors) -> list[Tensor]:
    """u + factor · v for a factor that may be a tensor on the device."""
    if isinstance(factor, Tensor) and reads_are_free(v):
        factor = factor.item()
    if isinstance(factor, Tensor) or abs(factor) > _SAFE_FACTOR or any(t.dtype not in _WIDE for t in u):
        return add(u, scale(v, factor))  # torch rounds alpha to the tensors' type, and raises where it overflows
    return add(u, v, factor)


def stepped(u: Vectors, factor: Tensor, v: Vectors) -> list[Tensor]:
    """u + factor · v, rounded once where reads are free: bit for bit as ``Move.displace``."""
    if reads_are_free(u):
        number = factor.item()
        return [torch.add(a, b, alpha=number) for a, b in zip(u, v, strict=True)]
    return add(u, scale(v, factor))


def lerp(u: Vectors, v: Vectors, weight: float) -> list[Tensor]:
    """(1 − weight) · u + weight · v."""
    return list(torch._foreach_lerp(list(u), list(v), weight))


def select(condition: Tensor, u: Vectors, v: Vectors) -> list[Tensor]:
    """u where the 0-dimensional condition holds, else v. A selection, not a product: 0 · NaN would be NaN."""
    if reads_are_free(u):
        return list(u if condition else v)
    return [torch.where(condition.to(a.device), a, b) for a, b in zip(u, v, strict=True)]


def zeros_like(v: Vectors) -> list[Tensor]:
    """The zero vector."""
    return [torch.zeros_like(t, requires_grad=False) for t in v]


def keep(condition: Tensor, v: Vectors) -> list[Tensor]:
    """v where the 0-dimensional condition holds, else 0, by a selection."""
    if reads_are_free(v):
        return list(v) if condition else zeros_like(v)
    return [torch.where(condition.to(t.device), t, 0) for t in v]


def finite(v: Vectors) -> Tensor:
    """Whether every entry is finite, on the device: one pass over v."""
    return torch.isfinite(dot(v, v))


def assemble(parts: Iterable[tuple[Sequence[int], Vectors]]) -> list[Tensor]:
    """One vector from (positions, tensors) pairs that cover it."""
    whole = {i: t for index, tensors in parts for i, t in zip(index, tensors, strict=True)}
    return [whole[i] for i in sorted(whole)]


def cast(v: Vectors, like: Vectors) -> list[Tensor]:
    """v in the types of ``like``."""
    return [t.to(each.dtype) for t, each in zip(v, like, strict=True)]


def map(f: Callable[[Tensor], Tensor], v: Vectors) -> list[Tensor]:
    """Apply f to each tensor."""
    return [f(t) for t in v]


def count(v: Vectors) -> int:
    """Number of scalar entries, P."""
    return sum(t.numel() for t in v)


def flatten(v: Vectors) -> Tensor:
    """One tensor of shape [P]."""
    return torch.cat([t.reshape(-1) for t in v])


def unflatten(flat: Tensor, like: Vectors) -> list[Tensor]:
    """The inverse of :func:`flatten`, with the shapes of ``like``."""
    parts = flat.split([t.numel() for t in like])
    return [p.reshape(t.shape) for p, t in zip(parts, like, strict=True)]


def copy_(target: Vectors, source: Vectors) -> None:
    """target ← source, in place."""
    torch._foreach_copy_(list(target), list(source))


def add_(target: Vectors, v: Vectors) -> None:
    """target ← target + v, in place."""
    torch._foreach_add_(list(target), list(v))


def shares_storage(t: Tensor) -> bool:
    """Whether another tensor uses t's storage, or t is a view into a larger one."""
    storage = t.untyped_storage()
    # two references: t, and the handle just made
    return storage.nbytes() != t.nbytes or int(torch._C._storage_Use_Count(storage._cdata)) > 2
