"""The inputs of a law, and the operations on vectors that laws need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Brief, Vectors
from ..core import vectors as vec
from ..rows import Pulled


@dataclass(frozen=True)
class Drawn(Brief):
    """The inputs of one case. None of the vectors is zero.

    c, d: covectors of about the same scale, which may be extreme. u, v: tangent vectors. step: the direction in which an
    optimum is disturbed. rho: the radius. a, b: coefficients of linear combinations. power: c · 2^power stays within the
    supported scales. spoil: (position, NaN or ±inf) of the entry that makes c not finite.
    """

    c: Vectors
    d: Vectors
    u: Vectors
    v: Vectors
    step: Vectors
    rho: float
    a: float
    b: float
    power: int
    spoil: tuple[int, float]


def scaled(c: Vectors, factor: float) -> Vectors:
    """factor · c; a pulled vector remains one."""
    if isinstance(c, Pulled):
        return c.rows.pull(c.coordinates * factor)
    return [(t.double() * factor).to(t.dtype) for t in c]


def spoiled(c: Vectors, position: int, value: float) -> Vectors:
    """c with one entry (one coordinate of a pulled vector) replaced."""
    if isinstance(c, Pulled):
        return c.rows.pull(_replaced([c.coordinates], position, value)[0])
    return _replaced(c, position, value)


def _replaced(c: Vectors, position: int, value: float) -> list[Tensor]:
    flat = [t.clone() for t in c]
    position %= vec.count(flat)
    for t in flat:
        if position < t.numel():
            t.view(-1)[position] = value
            break
        position -= t.numel()
    return flat


def combination(a: float, u: Vectors, b: float, v: Vectors) -> list[Tensor]:
    """au + bv, rounded once to u's type."""
    return [(a * s.double() + b * t.double()).to(s.dtype) for s, t in zip(u, v, strict=True)]


def pairing(c: Vectors, v: Vectors) -> Tensor:
    """⟨c, v⟩, entry by entry in float64."""
    return vec.dot(vec.map(Tensor.double, c), vec.map(Tensor.double, v))


def copied(v: Vectors) -> list[Tensor]:
    """A copy of the entries."""
    return [t.detach().clone() for t in v]


def kind(v: Vectors) -> list[tuple[torch.Size, torch.dtype, torch.device]]:
    """Shape, type and device of each tensor."""
    return [(t.shape, t.dtype, t.device) for t in v]
