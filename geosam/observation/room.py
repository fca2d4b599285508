"""What to do where memory is used up: how much was needed, and what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..core import Vectors
from ..core import vectors as vec
from ..core.limits import free_memory, out_of_memory
from ..problem import Bound
from .request import Needs

_SHARE = 0.5
"""The part of the free memory that rows may take: their Gram matrix and the forward pass want the rest."""


@contextmanager
def needed(bound: Bound, needs: Needs, parameters: Vectors, who: str) -> Iterator[None]:
    """Inside, an error of used-up memory names what was needed and what would fit. Raises: torch.OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise torch.OutOfMemoryError(f"{_told(bound, needs, parameters, who)} ({error})") from error


def _told(bound: Bound, needs: Needs, parameters: Vectors, who: str) -> str:
    if not any(request.single for request in needs):
        return (
            f"{who} ran out of memory in the forward and backward pass of {bound.n} samples. Use a smaller batch, or "
            "micro-batches of one ball: opt.step([problem.on(x1, y1), problem.on(x2, y2)])."
        )
    row = sum(p.numel() * p.element_size() for p in parameters)
    free = free_memory(parameters[0].device)
    most = None if free is None else int(free * _SHARE / row)
    fit = "" if most is None else f"; about {most} rows fit in half of the {_size(free or 0)} that are free"
    return (
        f"{who} ran out of memory. The gradients of {bound.n} samples in {vec.count(parameters):,} parameters are "
        f"{_size(bound.n * row)} where they are formed{fit}. Use a smaller batch, or "
        f"metrics.DiagonalEmpiricalFisher(engine=engines.Func(chunk_size={max(1, min(bound.n, most or 1))})), which forms as "
        "many at a time."
    )


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
