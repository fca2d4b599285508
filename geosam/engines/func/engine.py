"""Per-sample gradients by torch.func: exact for every model that vmap can run."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core import Vectors, limits
from ...core import vectors as vec
from ...problem import Bound
from ...rows import Materialised
from ..abstract import Captured, Draw, Engine, Moments
from .compiled import Compiler
from .here import Here


@dataclass(frozen=True)
class Func(Engine):
    """vmap(grad(ℓᵢ)). The rows are held in memory: 4nP bytes in float32; ``moments`` limits this by chunks of samples.

    chunk_size: the most samples that are mapped at once; by default all for ``rows``, and as many as fit in 256 MiB for
    ``moments``. compiler: such as ``functools.partial(torch.compile, fullgraph=True)``, applied once per problem to the
    mapped function, whose inputs are all that changes between steps; another batch size or mode of the model is compiled
    again. ``moments`` is compiled with its sums: a compiler that fuses them stores no rows of linear layers.
    Correct for tied weights, raw parameters, attention, GroupNorm, LSTM, Embedding, weight norm. Dropout has one mask per
    sample. Where vmap or torch.func has no rule for an operation the samples are processed one by one by plain autograd,
    unless there is a compiler.
    Raises: ValueError for BatchNorm in training mode; with a compiler also for what it cannot compile, and for a forward pass
    that uses random numbers, because compiled code may use others.
    """

    chunk_size: int | None = None
    compiler: Compiler | None = None

    def __post_init__(self) -> None:
        if self.compiler is not None and not callable(self.compiler):
            raise TypeError(f"compiler takes a function and returns it compiled, as torch.compile does; got {self.compiler!r}")

    def capture(self, bound: Bound, parameters: Vectors, draw: Draw | None = None) -> Captured:
        """Rows in memory. Cotangents come from the outputs of the same pass, and are pulled back under its dropout masks."""
        here = Here(self.compiler, bound, parameters)
        losses, jacobian, outputs = here.rows(bound, draw is not None, self.chunk_size)
        drawn = None if draw is None else here.pulled(draw(outputs), self.chunk_size)
        return Captured(losses, Materialised(jacobian), drawn)

    def moments(self, bound: Bound, parameters: Vectors, coefficients: Tensor | None = None) -> Moments:
        """(ℓ, g, (1/n) Σ gᵢ²), chunk by chunk."""
        most = self.chunk_size or max(1, limits.CHUNK // (4 * vec.count(parameters)))
        width = -(-bound.n // -(-bound.n // most))  # chunks as equal as possible: each size is compiled once
        here = Here(self.compiler, bound, parameters)
        parts = []
        for start in range(0, bound.n, width):
            part = bound.part(start, start + width)
            parts.append(here.sums(part, None if coefficients is None else coefficients[start : start + width]))
        losses, totals, squares, weighted = zip(*parts, strict=True)
        mean, square = (vec.scale(functools.reduce(vec.add, sums), 1 / bound.n) for sums in (totals, squares))
        found = None if coefficients is None else functools.reduce(vec.add, weighted)
        if found is not None and self.compiler is not None:  # a difference of the compiled mean shows in the sum
            plain = replace(self, compiler=None).moments(bound, parameters, coefficients)
            assert plain.weighted is not None
            found = vec.add(plain.weighted, vec.map(Tensor.double, vec.add(mean, plain.gradient, -1.0)))
        return Moments(torch.cat(losses), mean, square, weighted=found)

    def instead(self) -> Engine | None:
        """None, but the same without the compiler if there is one."""
        return None if self.compiler is None else replace(self, compiler=None)
