"""Spaces and tangent vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from ... import _vectors as vec
from ..._vectors import Vectors

Shape = tuple[int, ...]

_SHAPE: SearchStrategy[Shape] = st.one_of(
    st.just((1,)),
    st.just(()),
    st.tuples(st.integers(2, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2), st.just(2), st.integers(1, 2)),
)
_TICKS = st.integers(-100, 100)


def shapes() -> SearchStrategy[list[Shape]]:
    """Shapes of one to four parameters: scalars, biases, matrices and convolution kernels, mixed."""
    return st.lists(_SHAPE, min_size=1, max_size=4)


def spaces(dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32)) -> SearchStrategy[list[Tensor]]:
    """Zero vectors of drawn shapes, all of one of the types."""
    return st.builds(lambda s, dtype: [torch.zeros(shape, dtype=dtype) for shape in s], shapes(), st.sampled_from(dtypes))


def numbers(shape: int | Shape) -> SearchStrategy[Any]:
    """Arrays in [−1, 1] that are not 0: dense, nearly constant, spread over eight orders of magnitude, or one entry alone."""
    dense = arrays(np.int64, shape, elements=_TICKS, fill=st.nothing()).map(lambda k: k / 100)
    constant = arrays(np.int64, shape, elements=_TICKS).map(lambda k: k / 100)
    powers = arrays(np.int64, shape, elements=st.integers(-8, 0), fill=st.nothing()).map(lambda k: 10.0**k)
    spread = st.builds(np.multiply, dense, powers)
    size = int(np.prod(shape))
    axis = st.builds(lambda i, s: s * np.eye(1, size, i).reshape(shape), st.integers(0, size - 1), st.sampled_from([1, -1]))
    return st.one_of(dense, constant, spread, axis).filter(np.any).map(lambda x: x / np.abs(x).max())


def vectors(like: Vectors, least: int = -3, most: int = 3) -> SearchStrategy[list[Tensor]]:
    """Vectors with the shapes and type of ``like`` whose largest entry is ±10^k, k from ``least`` to ``most``."""

    def build(x: Any, k: int) -> list[Tensor]:
        return vec.unflatten(torch.from_numpy(x * 10.0**k).to(like[0].dtype), like)

    return st.builds(build, numbers(vec.count(like)), st.integers(least, most))
