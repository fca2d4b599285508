"""Rows of a linear layer, kept as their two factors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...core import Scalar, Vectors, limits
from ...core import vectors as vec
from ...rows import Pulled, Rows
from ...rows.square import add_square
from .inputs import Inputs


class Linear(Rows):
    """gᵢ = Σ_t δᵢₜ ⊗ aᵢₜ for the weight and Σ_t δᵢₜ for the bias. K = Σ_tt′ (δδᵀ)∘(aaᵀ + 1), without the 1 if there is no bias.

    inputs: a, [n, T, d]; deltas: δ, [K, n, T, o], the outputs' gradients, K per sample: row k·n + i is that of δₖᵢ.
    has: (weight, bias). Float64 products use the unrounded factors, so that K and J agree to the last digit.
    """

    def __init__(self, inputs: Inputs | Tensor, deltas: Tensor, like: Vectors, has: tuple[bool, bool]) -> None:
        self.inputs = inputs if isinstance(inputs, Inputs) else Inputs(inputs)
        self.deltas, self.like, self.has = deltas, like, has
        self.n = deltas.shape[0] * deltas.shape[1]

    def accumulate(self, out: Tensor, precision: torch.dtype) -> None:
        """By pairs of positions, or by rows in blocks of outputs, whichever takes fewer multiplications."""
        positions, o, d = *self.deltas.shape[2:], self.inputs.width
        pairs, formed = self.n * positions**2 * (o + d), (positions + self.n) * o * d
        if pairs <= formed or not self.has[0]:
            self._add_pairs(out, precision)
        else:
            self._add_formed(out, precision)

    def _add_formed(self, out: Tensor, precision: torch.dtype) -> None:
        for block in self._blocks(precision):
            add_square(out, block)

    def _add_pairs(self, out: Tensor, precision: torch.dtype) -> None:
        draws, n, positions, _ = self.deltas.shape
        d, strips = self.deltas.to(precision), self._strips((draws * positions) ** 2 * torch.finfo(precision).bits // 8)
        if len(strips) == 1:
            out.add_(self._pairs(d, d, strips[0]).view_as(out))
            return
        four = out.view(draws, n, draws, n)
        for strip in strips:
            below = self._pairs(d[:, strip], d[:, : strip.stop], strip)
            four[:, strip, :, : strip.stop].add_(below)
            if strip.start:
                four[:, : strip.start, :, strip].add_(below[..., : strip.start].permute(2, 3, 0, 1))

    def _pairs(self, d: Tensor, e: Tensor, strip: slice) -> Tensor:
        """[K, S, K, E]: Σ_tt′ (δεᵀ)∘(aaᵀ + 1) for δ of the samples in ``strip`` and ε of the first E samples."""
        (k, s, t, o), m = d.shape, e.shape[1]
        both = d.reshape(-1, o) @ e.reshape(-1, o).T
        if self.has[0]:
            a = self.inputs.gram(strip, d.dtype)
            if k > 1:
                both, a = both.view(k, s * t, k, m * t), a.unsqueeze(1)
            both = torch.addcmul(both, both, a) if self.has[1] else both.mul_(a)
        return both.view(k, s, t, k, m, t).sum((2, 5)) if t > 1 else both.view(k, s, k, m)

    def _strips(self, bytes_a_pair: int) -> list[slice]:
        n = self.deltas.shape[1]
        size = max(1, min(256, limits.BLOCK // (bytes_a_pair * n)))
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def _kindred(self, v: Vectors) -> tuple[Linear, Tensor] | None:
        """(rows, a) of a pulled vector Jᵀa of the same layer and pass, if the inputs' Gram matrix is kept; else None."""
        if isinstance(v, Pulled) and isinstance(v.rows, Linear):
            rows = v.rows
            if rows.inputs is self.inputs and rows.has == self.has and self.inputs.kept and self.has[0]:
                return rows, v.coordinates.to(self.deltas.dtype)
        return None

    def _through(self, weighted: Tensor) -> Tensor:
        """(aaᵀ + 1)δ′ for the positions' weighted deltas, [nT, o]."""
        along = self.inputs.gram(slice(0, self.deltas.shape[1]), weighted.dtype) @ weighted
        return along + weighted.sum(0) if self.has[1] else along

    def _blocks(self, precision: torch.dtype) -> Iterator[Tensor]:
        """Rows in this precision, [n, w], some outputs at a time, alternately of weight and bias."""
        width = max(1, limits.BLOCK // (8 * self.n * (self.inputs.width + 1)))
        a = self.inputs.tensor.to(precision)
        for d in self.deltas.to(precision).split(width, dim=3):
            if self.has[0]:
                yield (d.transpose(2, 3) @ a).reshape(self.n, -1)
            if self.has[1]:
                yield d.sum(2).reshape(self.n, -1)

    def apply(self, v: Vectors) -> Tensor:
        """Σ_to δ ∘ (aVᵀ + b); for Σ δ′aᵀ it is Σ_to δ ∘ (aaᵀ + 1)δ′."""
        if (kin := self._kindred(v)) is not None:
            through = self._through(kin[0]._weighted(kin[1]))
            return (self.deltas.flatten(1, 2) * through).sum(2).view(self.n, -1).double().sum(1)
        parts, dtype = list(v), v[0].dtype
        through = self.inputs.tensor.to(dtype) @ parts.pop(0).T if self.has[0] else torch.zeros((), dtype=dtype)
        through = through + (parts.pop(0) if self.has[1] else 0)
        return (through * self.deltas.to(dtype)).sum((2, 3)).double().reshape(-1)

    def _weighted(self, a: Tensor) -> Tensor:
        """Σ_k a_kᵢ δ_kᵢₜ, [nT, o], in the type of a."""
        weighted = self.deltas.to(a.dtype) * a.view(*self.deltas.shape[:2], 1, 1)
        return weighted.reshape(-1, weighted.shape[3]) if len(weighted) == 1 else weighted.sum(0).flatten(0, 1)

    def vjp(self, a: Tensor) -> list[Tensor]:
        """Σ (a∘δ)ᵀ inputs, and Σ a∘δ: one weight gradient for any K."""
        return self._pulled(self._weighted(a))

    def add(self, c: Vectors, factor: Scalar, a: Tensor) -> list[Tensor]:
        """One weight gradient where c is a pulled vector of the same layer and pass."""
        if (kin := self._kindred(c)) is None:
            return super().add(c, factor, a)
        return self._pulled(self._weighted(a) + factor * kin[0]._weighted(kin[1]))

    def square(self, a: Tensor) -> Tensor | None:
        """Σ δ′ ∘ (aaᵀ + 1)δ′."""
        if not (self.inputs.kept and self.has[0]):
            return None
        weighted = self._weighted(a.to(self.deltas.dtype))
        return (weighted * self._through(weighted)).sum(1).double().sum()

    def _pulled(self, weighted: Tensor) -> list[Tensor]:
        weight = weighted.T @ self.inputs.tensor.to(weighted.dtype).flatten(0, 1) if self.has[0] else None
        return self._parts(weight, weighted.sum(0))

    def mean_squares(self) -> list[Tensor]:
        """(δ²)ᵀ(a²)/n where T = 1; else from rows, formed a few outputs at a time."""
        if self.deltas.shape[2] > 1 and self.has[0]:
            return self._formed_squares()
        a, d = self.inputs.tensor.flatten(0, 1), self.deltas.sum(2)
        inputs, deltas = a.square(), d.square().sum(0) / self.n
        if vec.within_range([inputs]) and vec.within_range([deltas]):
            return self._parts(deltas.T @ inputs if self.has[0] else None, deltas.sum(0))
        # divided by their largest entries, so that squares stay in range
        (a, top_a), (d, top_d) = _unit(a), _unit(d)
        squares, scale = d.square().sum(0), top_d.square() / self.n
        weight = (squares.T @ a.square()).double() * (top_a.square() * scale) if self.has[0] else None
        return self._parts(weight, squares.double().sum(0) * scale)

    def _formed_squares(self) -> list[Tensor]:
        means = [block.square().mean(0) for block in self._blocks(torch.float64)]
        weight = torch.cat(means[::2] if self.has[1] else means).view(-1, self.inputs.width)
        return self._parts(weight, torch.cat(means[1::2]) if self.has[1] else weight)

    def columns(self, index: Sequence[int]) -> Linear:
        """Weight, bias, or both."""
        places = [i for i, has in enumerate(self.has) if has]
        kept = [places[i] for i in index]
        if kept != sorted(kept):
            raise ValueError("a linear layer's weight comes before its bias")
        return Linear(self.inputs, self.deltas, [self.like[i] for i in index], (0 in kept, 1 in kept))

    def _parts(self, weight: Tensor | None, bias: Tensor) -> list[Tensor]:
        return [t for t, has in zip((weight, bias), self.has, strict=True) if has and t is not None]


def _unit(t: Tensor) -> tuple[Tensor, Tensor]:
    """t over its largest entry, and that entry in float64."""
    top = t.abs().amax().double()
    top = torch.where(top > 0, top, 1.0)
    return (t.double() / top).to(t.dtype), top
