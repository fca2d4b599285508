"""Spaces and tangent vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from ...core import Vectors
from ...core import vectors as vec

Shape = tuple[int, ...]

_SHAPES: tuple[Shape, ...] = (
    *((1,), (), (2,), (5,)),
    *((1, 1), (2, 3), (3, 2), (4, 3), (1, 4)),
    *((1, 1, 2, 2), (2, 1, 2, 1), (2, 2, 2, 2)),
)


def shapes() -> SearchStrategy[list[Shape]]:
    """Shapes of one to four parameters: scalars, biases, matrices and convolution kernels, mixed."""
    return st.lists(st.sampled_from(_SHAPES), min_size=1, max_size=4)


def spaces(dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32)) -> SearchStrategy[list[Tensor]]:
    """Zero vectors of drawn shapes, all of one of the types."""
    return st.builds(lambda s, dtype: [torch.zeros(shape, dtype=dtype) for shape in s], shapes(), st.sampled_from(dtypes))


@cache
def ticks(size: int) -> SearchStrategy[Any]:
    """Arrays of multiples of 1/128 in [−1, 1], each entry drawn, from bytes for speed; they shrink to 0."""
    return st.binary(min_size=size, max_size=size).map(_zigzag)


def _zigzag(data: bytes) -> Any:
    k = np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    return np.where(k % 2, -(k + 1) // 2, k // 2) / 128


@cache
def powers(size: int, most: int) -> SearchStrategy[Any]:
    """Arrays of 10^k, k from 0 down to −most."""
    return st.binary(min_size=size, max_size=size).map(
        lambda data: 10.0 ** -(np.frombuffer(data, dtype=np.uint8) % (most + 1)).astype(float)
    )


@cache
def numbers(size: int) -> SearchStrategy[Any]:
    """Arrays whose largest entry is ±1: dense, constant, spread over eight orders of magnitude, or one entry alone."""
    sign = st.sampled_from([1.0, -1.0])
    axis = st.builds(lambda i, s: s * np.eye(1, size, i)[0], st.integers(0, size - 1), sign)
    constant = sign.map(lambda s: np.full(size, s))
    spread = st.builds(np.multiply, ticks(size), powers(size, 8))
    return st.one_of(axis, ticks(size), spread, constant).filter(np.any).map(lambda x: x / np.abs(x).max())


@cache
def _integers(least: int, most: int) -> SearchStrategy[int]:
    return st.integers(least, most)


@st.composite
def vectors(draw: DrawFn, like: Vectors, least: int = -3, most: int = 3) -> list[Tensor]:
    """Vectors with the shapes, type and device of ``like`` whose largest entry is ±10^k, k from ``least`` to ``most``."""
    x = draw(numbers(vec.count(like))) * 10.0 ** draw(_integers(least, most))
    return vec.unflatten(torch.from_numpy(x).to(like[0].device, like[0].dtype), like)
