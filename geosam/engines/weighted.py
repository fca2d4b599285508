"""A weighted sum of all rows of a batch, and the same sum by plain autograd."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..problem import Bound
from ..problem.gradient import gradients
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
    samples, differ from it.
    """

    def __init__(self, n: int, random: Random, like: Tensor) -> None:
        self.random, self.v = random, irregular(n, random, like)
        self.coefficients = (1 + self.v) / n
        self.data: list[Tensor] | None = None
        self.drawn: list[Tensor] | None = None
        self._cotangents: list[Tensor] = []

    def again(self) -> Weighted:
        """The same weights, with no sums yet."""
        fresh = Weighted(0, self.random, self.v)
        fresh.v, fresh.coefficients = self.v, self.coefficients
        return fresh

    def add(self, rows: Rows, drawn: Rows | None = None, cotangents: Tensor | None = None, start: int = 0) -> None:
        """Take the rows of some samples from ``start`` on, and of their cotangents u, [K, n, ...]."""
        kind = rows.like[0].dtype
        kind = kind if kind.itemsize >= 4 else torch.float64  # 16 bits would add what they round to what is compared
        self.data = _plus(self.data, rows.summed(self.coefficients[start : start + rows.n].to(kind)))
        if drawn is not None and cotangents is not None:
            w = irregular(drawn.n, self.random, self.v)
            self.drawn = _plus(self.drawn, drawn.summed(w.to(kind)))
            k, n, *rest = cotangents.shape
            self._cotangents.append((cotangents.double() * w.view(k, n, *[1] * len(rest))).sum(0))

    def draw(self, outputs: Tensor) -> Tensor:
        """One cotangent for each sample."""
        generator = torch.Generator().manual_seed(self.random.getrandbits(32))
        return torch.randn(outputs.shape, generator=generator, dtype=torch.float64).to(outputs).unsqueeze(0)

    @property
    def found(self) -> list[Tensor]:
        """Both sums, drawn rows on the scale of the others."""
        assert self.data is not None, "rows are added before they are compared"
        return self.data if self.drawn is None else vec.add(self.data, vec.scale(self.drawn, self._scale))

    @property
    def _scale(self) -> float:
        assert self.data is not None and self.drawn is not None
        data, drawn = vec.norm(self.data).item(), vec.norm(self.drawn).item()
        return data / drawn if 0 < data < float("inf") and 0 < drawn < float("inf") else 1.0

    def true(self, bound: Bound, parameters: Vectors) -> list[Tensor | None]:
        """The same by one pass of the model; None for parameters that are not reached."""
        outputs = bound.pure(parameters)(parameters, bound.x)
        if bound.sample.known and isinstance(outputs, Tensor):
            bound.sample.check(outputs, bound.y)
            slopes = bound.sample.slopes(outputs.detach(), bound.y)
            u = slopes * self.coefficients.view(-1, *[1] * (slopes.dim() - 1))
            total = outputs.new_zeros(())
        else:
            losses = bound.sample.all(outputs, bound.y)
            u, total = None, bound.quiet_loss(outputs) + losses @ (self.v / len(self.v)).to(losses.dtype)
        if self.drawn is not None:
            drawn = torch.cat(self._cotangents) * self._scale
            u = drawn if u is None else u + drawn
        total = total if u is None else total + (outputs * u.to(outputs.dtype)).sum()
        return gradients(bound, total, outputs, parameters) if total.requires_grad else [None] * len(parameters)


def _plus(a: list[Tensor] | None, b: list[Tensor]) -> list[Tensor]:
    return b if a is None else vec.add(a, b)


def gap(found: Vectors, wanted: Sequence[Tensor | None], floor: float = _FLOOR) -> float:
    """The largest difference of a tensor of ``found`` to that of ``wanted``, relative to it and the floor's share of all.

    NaN where they are not finite.
    """
    device = found[0].device
    true = [torch.zeros_like(f) if w is None else w for f, w in zip(found, wanted, strict=True)]
    pairs = [(f.double(), w.double()) for f, w in zip(found, true, strict=True)]
    gaps = torch.stack([torch.linalg.vector_norm(f - w).to(device) for f, w in pairs])
    sizes = torch.stack([torch.linalg.vector_norm(w).to(device) for _, w in pairs])
    return torch.where(gaps == 0, gaps, gaps / (sizes + floor * torch.linalg.vector_norm(sizes))).amax().item()


def shown(wanted: Sequence[Tensor | None]) -> Sequence[bool]:
    """For each gradient that is reached, whether it is not zero, so that a comparison with it says something."""
    return [bool(w.any()) for w in wanted if w is not None]
