"""A weighted sum of all rows of a batch, and the same sum by plain autograd."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..problem import Bound
from ..problem.gradient import gradients, private
from ..rows import Rows

# Powers of two: a sum of products of one sample is scaled by one without another rounding, in any precision. Not −1, by which
# the mean's own weight would vanish.
_WEIGHTS = [sign * 2.0**k for k in range(-3, 4) for sign in (1, -1) if sign * 2.0**k != -1]

# A gradient that is zero up to rounding (of an attention's key bias) is compared on the scale of all others.
_FLOOR = 1e-3


def irregular(n: int, random: Random, like: Tensor) -> Tensor:
    """n weights, no two samples' likely to be the same; float64."""
    return torch.tensor(random.choices(_WEIGHTS, k=n), dtype=torch.float64, device=like.device)


class Weighted:
    """Σᵢ cᵢgᵢ with c = (1 + v)/n, v irregular, and Σ_kᵢ w_kᵢ Jᵢᵀu_kᵢ for drawn rows, over all samples of a batch.

    By autograd the first is the gradient of the batch loss + Σ vᵢℓᵢ/n: rows whose mean is right, but that belong to other
    samples, differ from it. whole: where the outputs tell no losses of single samples; then v = 0, the batch loss alone.
    """

    def __init__(self, n: int, random: Random, like: Tensor, whole: bool = False) -> None:
        self.random, self.v, self.whole = random, irregular(n, random, like), whole
        if whole:
            self.v = torch.zeros_like(self.v)
        self.coefficients = (1 + self.v) / n
        self.data: list[Tensor] | None = None
        self.drawn: list[Tensor] | None = None
        self._cotangents: list[Tensor] = []

    def again(self) -> Weighted:
        """The same weights, with no sums yet."""
        fresh = Weighted(0, self.random, self.v)
        fresh.v, fresh.coefficients, fresh.whole = self.v, self.coefficients, self.whole
        return fresh

    def add(self, rows: Rows) -> None:
        """Take the rows of the losses."""
        self.data = rows.summed(self.coefficients.to(_kind(rows)))

    def add_drawn(self, rows: Rows, cotangents: Tensor) -> None:
        """Take the rows of the next samples' cotangents u, [K, n, ...]."""
        w = irregular(rows.n, self.random, self.v)
        sums = rows.summed(w.to(_kind(rows)))
        self.drawn = sums if self.drawn is None else vec.add(self.drawn, sums)
        k, n, *rest = cotangents.shape
        self._cotangents.append((cotangents.double() * w.view(k, n, *[1] * len(rest))).sum(0))

    def draw(self, outputs: Tensor) -> Tensor:
        """One cotangent for each sample."""
        generator = torch.Generator().manual_seed(self.random.getrandbits(32))
        return torch.randn(outputs.shape, generator=generator, dtype=torch.float64).to(outputs).unsqueeze(0)

    @property
    def done(self) -> bool:
        """Whether there is a sum yet."""
        return self.data is not None or self.drawn is not None

    @property
    def found(self) -> list[Tensor]:
        """The sums that were taken, drawn rows on the scale of the others."""
        assert self.done, "rows are added before they are compared"
        if self.data is None or self.drawn is None:
            return self.data or self.drawn or []
        return vec.add(self.data, vec.scale(self.drawn, self._scale))

    @property
    def _scale(self) -> float:
        data, drawn = (1.0 if sums is None else vec.norm(sums).item() for sums in (self.data, self.drawn))
        return data / drawn if self.data is not None and 0 < data < math.inf and 0 < drawn < math.inf else 1.0

    def true(self, bound: Bound, parameters: Vectors) -> list[Tensor | None]:
        """The same by one pass of the model; None for parameters that are not reached."""
        values = private(parameters)
        outputs, copy = bound.joint(parameters)(values, bound.x)
        total, u = torch.zeros((), dtype=self.v.dtype, device=self.v.device), []
        if self.data is not None and bound.sample.known and isinstance(outputs, Tensor):
            bound.sample.check(outputs, bound.y)
            slopes = bound.sample.slopes(outputs.detach(), bound.y)
            u = [slopes * self.coefficients.view(-1, *[1] * (slopes.dim() - 1))]
        elif self.data is not None:
            total = bound.quiet_loss(outputs, values, copy=copy)
            if not self.whole:
                with bound.reading(values):
                    losses = bound.sample.all(outputs, bound.y)
                total = total + losses @ (self.v / len(self.v)).to(losses.dtype)
        if self.drawn is not None:
            drawn = torch.cat(self._cotangents) * self._scale
            # of a sample alone whose outputs are NaN, as by a deviation over the batch: its rows are NaN, and are compared
            u.append(torch.where(drawn.isnan() & outputs.detach().isfinite(), 0.0, drawn))
        if u:
            total = total + (outputs * functools.reduce(torch.add, u).to(outputs.dtype)).sum()
        return gradients(total, outputs, values) if total.requires_grad else [None] * len(parameters)


def _kind(rows: Rows) -> torch.dtype:
    """Of the weights: 16 bits would add what they round to what is compared."""
    kind = rows.like[0].dtype
    return kind if kind.itemsize >= 4 else torch.float64


def gap(found: Vectors, wanted: Sequence[Tensor | None], floor: float = _FLOOR) -> float:
    """The largest difference of a tensor of ``found`` to that of ``wanted``, relative to it and the floor's share of all.

    NaN where ``wanted`` is not finite, infinite where only ``found`` is not.
    """
    device = found[0].device
    true = [torch.zeros_like(f) if w is None else w for f, w in zip(found, wanted, strict=True)]
    pairs = [(f.double(), w.double()) for f, w in zip(found, true, strict=True)]
    gaps = torch.stack([torch.linalg.vector_norm(f - w).to(device) for f, w in pairs])
    sizes = torch.stack([torch.linalg.vector_norm(w).to(device) for _, w in pairs])
    whole = torch.linalg.vector_norm(sizes)
    gaps = torch.where(gaps.isnan() & whole.isfinite(), torch.inf, gaps)
    return torch.where(gaps == 0, gaps, gaps / (sizes + floor * whole)).amax().item()


def shown(wanted: Sequence[Tensor | None]) -> Sequence[bool]:
    """For each gradient that is reached, whether it is not zero, so that a comparison with it says something."""
    return [bool(w.any()) for w in wanted if w is not None]
