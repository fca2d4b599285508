"""The exponential average that objectives with memory keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..observation import State

Past = Sequence[Tensor | None]


def past(state: State, key: str, like: Vectors) -> Past:
    """The state's entries of this name, one a parameter; None for a parameter without a past, or of another shape since."""
    found = state.get(key, ())
    entries: Past = found if len(found) == len(like) else [None] * len(like)
    return [None if e is None or e.shape != t.shape else e for e, t in zip(entries, like, strict=True)]


def any_of(last: Past) -> bool:
    """Whether a parameter has a past."""
    return any(entry is not None for entry in last)


def averaged(g: Vectors, last: Past, decay: float) -> tuple[Vectors, Vectors]:
    """m_t = decay · m_{t−1} + (1 − decay) · g_t, m_0 = g_0; and what to keep: m_{t−1} (at first 0) if g_t is not finite."""
    before = [x if m is None else m for m, x in zip(last, g, strict=True)]
    average = vec.lerp(before, g, 1 - decay)  # new memory: the second pass overwrites that of the first one's gradient
    kept = (
        before
        if all(m is not None for m in last)
        else [torch.zeros_like(x) if m is None else m for m, x in zip(last, g, strict=True)]
    )
    return average, vec.select(vec.finite(g), average, kept)
