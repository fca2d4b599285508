"""The forms of a vector: a list of tensors, one flat tensor, parts, another type. No arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from .layout import alike

Vectors = Sequence[Tensor]
Scalar = Tensor | float


def gathered(numbers: Sequence[Tensor]) -> Tensor:
    """0-dimensional tensors as one, of shape [len(numbers)], on the first one's device."""
    device = numbers[0].device
    return torch.stack(list(numbers) if alike(numbers) else [t.to(device) for t in numbers])


def dense(v: Vectors) -> list[Tensor]:
    """The same numbers without gaps: an embedding may give its gradient as a sparse tensor."""
    return [t if t.layout == torch.strided else t.to_dense() for t in v]


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


def on(value: Scalar, like: Tensor) -> Scalar:
    """The value on the device of ``like``."""
    return value.to(like.device) if isinstance(value, Tensor) else value


def as_given(like: Tensor) -> AbstractContextManager[Any]:
    """A context in which products keep their factors' precision: autocast is off."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
