"""Diagonals and per-sample Jacobians, ill-conditioned and rank-deficient ones among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from ...core import Vectors
from ...core import vectors as vec
from ...rows import Materialised
from .vectors import numbers, powers


def diagonals(like: Vectors, decades: int = 8) -> SearchStrategy[list[Tensor]]:
    """Positive diagonals with entries from 10^−decades/2 to 10^decades/2, and so a condition number of up to 10^decades."""

    def build(power: Any) -> list[Tensor]:
        return vec.unflatten(torch.from_numpy(power * 10.0 ** (decades // 2)).to(like[0].device, like[0].dtype), like)

    return powers(vec.count(like), decades).map(build)


@st.composite
def jacobians(draw: DrawFn, like: Vectors, samples: int = 5) -> list[Tensor]:
    """One tensor [n, *shape] per parameter, n ≤ samples, not all 0: independent rows, multiples, rows of zeros, and rows
    whose lengths differ by up to four orders of magnitude."""
    n, size = draw(st.integers(1, samples)), vec.count(like)
    if draw(st.booleans()):
        flat = draw(numbers(n * size)).reshape(n, size)
    else:
        distinct = draw(st.integers(1, n))
        base = draw(numbers(distinct * size)).reshape(distinct, size)
        chosen = draw(st.lists(st.integers(0, distinct - 1), min_size=n, max_size=n))
        factors = draw(st.lists(st.sampled_from([1, 1, -1, 0.5, 0]), min_size=n, max_size=n))
        flat = base[chosen] * np.array(factors)[:, None]
    lengths = draw(st.lists(st.sampled_from([1.0, 1.0, 10.0, 1e-3]), min_size=n, max_size=n))
    flat = flat * np.array(lengths)[:, None]
    if not flat.any():
        flat[0, 0] = 1.0
    whole = torch.from_numpy(flat).to(like[0].device, like[0].dtype)
    parts = whole.split([t.numel() for t in like], dim=1)
    return [part.reshape(n, *t.shape) for part, t in zip(parts, like, strict=True)]


def rows(like: Vectors, samples: int = 5) -> SearchStrategy[Materialised]:
    """The same as an operator."""
    return jacobians(like, samples).map(Materialised)
