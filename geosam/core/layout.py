"""How tensors lie in memory, where one kernel is to take several of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_FUSED = (torch.float32, torch.bfloat16, torch.float16)


def alike(v: Sequence[Tensor]) -> bool:
    """Whether all are of one type and device, as multi-tensor operations and their scalars need it."""
    kind, place = v[0].dtype, v[0].get_device()
    return [t.dtype for t in v].count(kind) == len(v) == [*map(Tensor.get_device, v)].count(place)


def fusible(u: Sequence[Tensor], v: Sequence[Tensor]) -> bool:
    """Whether torch's fused SGD takes u + factor · v, of one type and device each: dense tensors alike in type and layout.

    Not subclasses, nor float64: its factor is a float32 number.
    """
    one, other = u[0], v[0]
    if torch.compiler.is_compiling() or one.dtype not in _FUSED or one.device.type not in ("cuda", "cpu"):
        return False
    plain = {*(type(t) for t in u), *(type(t) for t in v)} <= {Tensor, torch.nn.Parameter}
    if not plain or (one.dtype, one.device) != (other.dtype, other.device):
        return False
    contiguous = all(map(Tensor.is_contiguous, u)) and all(map(Tensor.is_contiguous, v))
    return contiguous or all(lies_as(a, b) for a, b in zip(u, v, strict=True))


def lies_as(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape are dense and have their entries in the same order."""
    if a.is_contiguous() and b.is_contiguous():
        return True
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(a.dim())
    return last is not None and a.is_contiguous(memory_format=last) and b.is_contiguous(memory_format=last)


def bits_of(v: Sequence[Tensor]) -> list[Tensor]:
    """The same memory as integers. A product with 0 or 1 selects there: 0 · NaN would be NaN."""
    return [t.view(_BITS[t.element_size()]) for t in v]


def flag(condition: Tensor, bits: Sequence[Tensor]) -> Tensor:
    """The condition as 0 or 1, in the type and on the device of the bits."""
    return condition.to(bits[0].device, bits[0].dtype)


def shares_storage(t: Tensor) -> bool:
    """Whether another tensor uses t's storage, or t is a view into a larger one."""
    storage = t.untyped_storage()
    # two references: t, and the handle just made
    return storage.nbytes() != t.nbytes or int(torch._C._storage_Use_Count(storage._cdata)) > 2
