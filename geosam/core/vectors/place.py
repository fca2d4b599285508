"""Where tensors lie: whether the host may read their numbers, and which of them one operation can take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..forms import Vectors, assemble
from ..layout import alike
from ..sharded import any_sharded


def reads_are_free(v: Vectors) -> bool:
    """Whether the host can read a number without synchronisation: on a CPU by one process, and not while a graph is traced."""
    return not torch.compiler.is_compiling() and on_host(v) and not any_sharded(v)


def on_host(v: Vectors) -> bool:
    """Whether all tensors are on a CPU."""
    return all(t.is_cpu for t in v)


def kinds(*lists: Vectors) -> list[tuple[Sequence[int], list[list[Tensor]]]]:
    """(positions, lists) of each combination of types and devices."""
    if all(alike(v) for v in lists):
        return [(range(len(lists[0])), [list(v) for v in lists])]
    groups: dict[Any, list[int]] = {}
    for i, tensors in enumerate(zip(*lists, strict=True)):
        groups.setdefault(tuple((t.dtype, t.device) for t in tensors), []).append(i)
    return [(index, [[v[i] for i in index] for v in lists]) for index in groups.values()]


def together(operation: Callable[..., Sequence[Tensor]], *lists: Vectors) -> list[Tensor]:
    """operation(*lists), by one call for the tensors of each type and device."""
    return assemble((index, operation(*parts)) for index, parts in kinds(*lists))
