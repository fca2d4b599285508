"""Algebra on lists of tensors: the only file that knows how a vector is stored.

A vector is a sequence of tensors with the parameters' shapes, in parameter order. Returned scalars are 0-dimensional
float64 tensors on the vector's device: a dual norm may lie between 1e-25 and 1e18, and its square leaves the range of float32.

On a CPU a tensor is taken at a time, so that it stays in the cache, and numbers are read. Elsewhere a read waits for the
device and a launch costs more than small arithmetic: all tensors of a type and device are taken by one multi-tensor operation.
Of sharded tensors each process takes its own parts, as on an accelerator, and sums are reduced over the mesh (``sharded``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .forms import Scalar, Vectors, as_given, assemble, cast, count, dense, flatten, gathered, map, on, unflatten
from .layout import alike, bits_of, flag, fusible
from .sharded import any_sharded, entrywise, families, own, settled, totals

__all__ = ["Scalar", "Vectors", "as_given", "assemble", "cast", "count", "dense"]
__all__ += ["flatten", "gathered", "map", "on", "unflatten"]

# Products below 1.2e-38 lose bits in float32. A sum of up to 1e9 terms above this value has lost at most 1e-7 of itself.
_SAFE_SUM = 1e-22

# Longer sums are taken in pieces of this many terms: float32 accumulation loses 1e-3 to 1e-2 over 2e7 terms.
_PIECE = 2**18

_BLOCK = 2**24

_SAFE_FACTOR = 1e38
_WIDE = (torch.float32, torch.float64)
_LARGEST = torch.finfo(torch.float32).max / 2


def reads_are_free(v: Vectors) -> bool:
    """Whether the host can read a number without synchronisation: on a CPU by one process, and not while a graph is traced."""
    return not torch.compiler.is_compiling() and all(t.is_cpu for t in v) and not any_sharded(v)


def _kinds(*lists: Vectors) -> list[tuple[Sequence[int], list[list[Tensor]]]]:
    """(positions, lists) of each combination of types and devices."""
    if all(alike(v) for v in lists):
        return [(range(len(lists[0])), [list(v) for v in lists])]
    groups: dict[Any, list[int]] = {}
    for i, tensors in enumerate(zip(*lists, strict=True)):
        groups.setdefault(tuple((t.dtype, t.device) for t in tensors), []).append(i)
    return [(index, [[v[i] for i in index] for v in lists]) for index in groups.values()]


def _together(operation: Callable[..., Sequence[Tensor]], *lists: Vectors) -> list[Tensor]:
    """operation(*lists), by one call for the tensors of each type and device."""
    return assemble((index, operation(*parts)) for index, parts in _kinds(*lists))


def _sizes(v: Vectors, order: float) -> Tensor:
    """The p-norms of the tensors, float64, shape [len(v)]."""
    if any_sharded(v):
        return _sizes_over_mesh(settled(v), order)
    return gathered(_together(lambda part: torch._foreach_norm(part, order, dtype=torch.float64), v))


def _sizes_over_mesh(v: Vectors, order: float) -> Tensor:
    """Of maxima NaN becomes infinite, which a reduction keeps."""
    sizes = _sizes([t if t.numel() else t.new_zeros(1) for t in own(v)], order)
    if order == math.inf:
        return gathered(totals([*sizes.nan_to_num(math.inf, math.inf)], v, largest=True))
    return gathered(totals([*sizes.pow(order)], v)).pow(1 / order)


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
    return gathered([each for _, parts in _kinds(u, v) for each in _dots(*parts)]).sum()


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
    return dot(v, v).sqrt() if reads_are_free(v) else torch.linalg.vector_norm(_sizes(v, 2))


def sup(v: Vectors) -> Tensor:
    """Largest absolute entry, float64; 0 where there is none. NaN propagates."""
    filled = [t for t in v if t.numel()]
    if not filled:
        return torch.zeros((), dtype=torch.float64, device=v[0].device)
    if not reads_are_free(v):
        return _sizes(filled, math.inf).amax()
    return torch.stack([t.abs().amax().double() for t in filled]).amax()


def within_range(squares: Vectors) -> bool:
    """Whether no square under- or overflowed enough to matter. False where reading a number would synchronise."""
    return reads_are_free(squares) and (squares[0].dtype == torch.float64 or bool(1e-20 < sup(squares) < 1e30))


def absolute_sum(v: Vectors) -> Tensor:
    """Σ |v_i|, float64."""
    return torch.stack([t.abs().sum(dtype=torch.float64) for t in v]).sum() if reads_are_free(v) else _sizes(v, 1).sum()


def norms(v: Vectors) -> list[Tensor]:
    """‖v_i‖₂ of each tensor, in its type."""
    if any_sharded(v):
        return [size.to(t.dtype) for size, t in zip(_sizes(v, 2), v, strict=True)]
    return list(torch._foreach_norm(list(v)))


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
def scale_(v: Vectors, factor: Tensor) -> None:
    """v ← factor · v, in place. The factor stays on the device; it is not rounded to a type below float32."""
    if reads_are_free(v):
        if (number := factor.item()) != 1:
            torch._foreach_mul_(list(v), number)
        return
    for _, (part,) in _kinds(v):
        torch._foreach_mul_(part, factor.to(part[0].device, torch.promote_types(part[0].dtype, torch.float32)))


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
        return _together(lambda part: _scaled(far, list(_scaled(near, part))), v)
    if abs(factor) > _SAFE_FACTOR:  # infinite in float32; 1/‖v‖ is so large for a v of denormal numbers
        return [(t.double() * factor).to(t.dtype) for t in v]
    return list(torch._foreach_mul(list(v), factor))


def _scaled(factor: Tensor, v: list[Tensor]) -> Sequence[Tensor]:
    if v[0].dtype.itemsize < 4:
        factor = factor.to(v[0].device, torch.float32)
        return [(t.float() * factor).to(t.dtype) for t in v]
    return torch._foreach_mul(v, factor.to(v[0].device, v[0].dtype))  # of one type, or it is a launch a tensor


@entrywise
def add(u: Vectors, v: Vectors, factor: float = 1.0) -> list[Tensor]:
    """u + factor · v."""
    return list(torch._foreach_add(list(u), list(v), alpha=factor))


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
    for _, parts in _kinds(u, v):
        _axpy_(factor, where, *parts)


def _axpy_(factor: Tensor, where: Tensor, u: list[Tensor], v: list[Tensor]) -> None:
    if not fusible(u, v):
        torch._foreach_add_(u, _kept(where, list(_scaled(factor, v))))
        return
    rate = factor.to(u[0].device, torch.float32)
    skip = torch.logical_not(where.to(rate.device), out=torch.empty_like(rate))
    # One kernel that rounds once: SGD with step size −factor, skipped by the flag that a gradient scaler would give it.
    unused: dict[str, Any] = {"weight_decay": 0.0, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "is_first_step": False}
    torch._fused_sgd_(u, v, [], lr=rate, maximize=True, found_inf=skip, **unused)


@entrywise
def stepped(u: Vectors, factor: Tensor, v: Vectors) -> list[Tensor]:
    """u + factor · v, rounded once where reads are free: bit for bit as ``Move.displace``."""
    if reads_are_free(u):
        number = factor.item()
        return [torch.add(a, b, alpha=number) for a, b in zip(u, v, strict=True)]
    return add(u, scale(v, factor))


@entrywise
def lerp(u: Vectors, v: Vectors, weight: float) -> list[Tensor]:
    """(1 − weight) · u + weight · v."""
    return list(torch._foreach_lerp(list(u), list(v), weight))


@entrywise
def select(condition: Tensor, u: Vectors, v: Vectors) -> list[Tensor]:
    """u where the 0-dimensional condition holds, else v, whatever the other holds."""
    if reads_are_free(u):
        return list(u if condition else v)
    return _together(partial(_selected, condition), u, v)


def _selected(condition: Tensor, u: list[Tensor], v: list[Tensor]) -> list[Tensor]:
    one, other = bits_of(u), bits_of(v)
    chosen = torch._foreach_mul(one, flag(condition, one))
    torch._foreach_add_(chosen, torch._foreach_mul(other, flag(~condition, other)))
    return [t.view(a.dtype) for t, a in zip(chosen, u, strict=True)]


@entrywise
def zeros_like(v: Vectors) -> list[Tensor]:
    """The zero vector."""
    zero = [torch.empty_like(t, requires_grad=False) for t in v]
    torch._foreach_zero_(zero)
    return zero


@entrywise
def clone(v: Vectors) -> list[Tensor]:
    """A copy."""
    copy = [torch.empty_like(t, requires_grad=False) for t in v]
    copy_(copy, v)
    return copy


@entrywise
def keep(condition: Tensor, v: Vectors) -> list[Tensor]:
    """v where the 0-dimensional condition holds, else 0, whatever v holds."""
    if reads_are_free(v):
        return list(v) if condition else zeros_like(v)
    return _together(partial(_kept, condition), v)


def _kept(condition: Tensor, v: list[Tensor]) -> list[Tensor]:
    bits = bits_of(v)
    return [t.view(a.dtype) for t, a in zip(torch._foreach_mul(bits, flag(condition, bits)), v, strict=True)]


@entrywise
def keep_(condition: Tensor, v: Vectors) -> None:
    """The same in place."""
    if reads_are_free(v):
        if not condition:
            torch._foreach_zero_(list(v))
        return
    for _, (part,) in _kinds(v):
        bits = bits_of(part)
        torch._foreach_mul_(bits, flag(condition, bits))


def finite(v: Vectors) -> Tensor:
    """Whether every entry is finite, on the device: one pass over v."""
    return torch.isfinite(dot(v, v)) if reads_are_free(v) else _sizes(v, 1).sum() < math.inf


@entrywise
def copy_(target: Vectors, source: Vectors) -> None:
    """target ← source, in place."""
    if not target:
        return
    if alike(target):
        torch._foreach_copy_(list(target), list(source))
        return
    for _, (to, of) in _kinds(target, source):
        torch._foreach_copy_(to, of)


@entrywise
def add_(target: Vectors, v: Vectors) -> None:
    """target ← target + v, in place."""
    torch._foreach_add_(list(target), list(v))


@entrywise
def axpby_(factor: Tensor, u: Vectors, number: float, v: Vectors) -> None:
    """u ← factor · u + number · v, in place."""
    if reads_are_free(u):
        for a, b in zip(u, v, strict=True):
            a.mul_(factor).add_(b, alpha=number)
        return
    for _, (one, other) in _kinds(u, v):
        torch._foreach_mul_(one, factor.to(one[0].device, one[0].dtype))
        torch._foreach_add_(one, other, alpha=number)
