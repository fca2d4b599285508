"""Which slice of an intermediate tensor belongs to which sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ...core import Vectors
from ...core.limits import agreement
from ...core.undo import Attempt
from ...problem import Bound
from .capture import Capture, Use


@dataclass(frozen=True)
class Axis:
    """The dimension of the samples. inner: 0 where it has samples only; else how it is merged with another one, of size k:

    1 as (n, k), the samples outermost; −1 as (k, n), the samples innermost.
    """

    dim: int
    inner: int = 0

    def front(self, t: Tensor, n: int) -> Tensor:
        """[n, ...]: the samples first, each with the dimensions that t has, of size 1 (or k) where the samples were."""
        if self.inner == 0:
            return t.movedim(self.dim, 0).unsqueeze(self.dim + 1)
        if self.inner > 0:
            return t.unflatten(self.dim, (n, -1)).movedim(self.dim, 0)
        return t.unflatten(self.dim, (-1, n)).movedim(self.dim + 1, 0)

    def fits(self, shape: torch.Size, n: int) -> bool:
        """Whether a tensor of this shape can hold n samples in this way; it cannot where data select some of them."""
        return self == SHARED or (shape[self.dim] % n == 0 if self.inner else shape[self.dim] == n)

    def weighted(self, t: Tensor, weights: Tensor) -> Tensor:
        """t with each sample's entries multiplied by its weight, in the layout of t."""
        k = t.shape[self.dim] // len(weights)
        along = weights.repeat_interleave(k) if self.inner > 0 else weights.repeat(k)
        return t * along.view(-1, *[1] * (t.dim() - self.dim % t.dim() - 1))

    def owns(self, t: Tensor, weighted: Tensor, weights: Tensor, tolerance: float) -> bool:
        """Whether ``weighted`` is t times the samples' weights, sample by sample."""
        if not t.numel():
            return True
        n, wanted = len(weights), self.weighted(t, weights.to(t.dtype))
        gaps, sizes = (self.front(x, n).flatten(1).abs().amax(1) for x in (weighted - wanted, t))
        allowed = tolerance * (sizes + sizes.amax())
        return not (gaps > allowed).any()  # NaN counts as equal


SHARED = Axis(-1)
"""For a tensor without samples: a mask, running statistics, a constant."""


@dataclass(frozen=True)
class Layout:
    """The axis of a recorded operation's output and of each activation; None where it is unknown."""

    out: Axis | None
    activations: dict[int, Axis | None]

    def fits(self, use: Use, n: int) -> bool:
        """Whether it is known, and the sizes are those of n samples."""
        if self.out is None or self.out == SHARED or not self.out.fits(use.shape, n):
            return False
        return all(axis is not None and axis.fits(use.flat[i].shape, n) for i, axis in self.activations.items())


UNKNOWN = Layout(None, {})
"""For an operation that is not known to act on one sample at a time."""


def signature(uses: Sequence[Use]) -> tuple[Any, ...]:
    """What a layout depends on: the operations in their order, their parameters, the dimensions of their inputs and outputs."""
    return tuple(
        (use.name, *use.places.items(), len(use.shape), *((i, t.dim()) for i, t in use.activations.items())) for use in uses
    )


def learn(bound: Bound, parameters: Vectors, uses: Sequence[Use]) -> list[Layout]:
    """The layouts, found by running two and then three samples: the dimension that grows is the samples'.

    Where it is merged with another, the gradient of the first of two samples shows which of its entries are that sample's. None
    is known where the model does not run on other numbers of samples.
    """
    attempt = Attempt()
    try:
        with bound.replay(), torch.enable_grad():
            two, shares = _probe(bound, parameters, 2)
            three, _ = _probe(bound, parameters, 3)
    except Exception as error:  # of the model's own, such as an index of samples that are not among the two
        attempt.refused(error)
        return [UNKNOWN] * len(uses)
    if not signature(uses) == signature(two) == signature(three):
        return [UNKNOWN] * len(uses)
    return [_layout(*case) for case in zip(two, three, shares, strict=True)]


def _probe(bound: Bound, parameters: Vectors, m: int) -> tuple[list[Use], Sequence[Tensor | None]]:
    chosen = torch.arange(m) % bound.n
    x, y = tree_map(lambda t: t[chosen.to(t.device)] if isinstance(t, Tensor) else t, (bound.x, bound.y))
    capture, call = Capture(parameters), bound.pure(parameters)
    with capture:
        outputs = call(parameters, x)
    first = bound.sample.all(outputs, y)[0]
    edges = [use.edge for use in capture.uses]
    return capture.uses, torch.autograd.grad(first, edges, allow_unused=True) if edges else ()


def _layout(two: Use, three: Use, share: Tensor | None) -> Layout:
    """UNKNOWN also where a sample's activations are others beside a third one: samples have met before."""
    out = _axis(two.shape, three.shape, share)
    found = {}
    for (i, a), b in zip(two.activations.items(), three.activations.values(), strict=True):
        found[i] = _axis(a.shape, b.shape, None, out)
        if not _same(a, b, found[i]):
            return UNKNOWN
    return Layout(out, found)


def _same(two: Tensor, three: Tensor, axis: Axis | None) -> bool:
    if axis is None or not two.is_floating_point() or not two.numel():
        return True
    if axis != SHARED:
        two, three = axis.front(two, 2), axis.front(three, 3)[:2]
    return not bool((two - three).abs().amax() > agreement(two.dtype) * three.abs().amax())  # NaN counts as equal


def _axis(two: torch.Size, three: torch.Size, share: Tensor | None, like: Axis | None = None) -> Axis | None:
    grown = [d for d, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if len(grown) != 1:
        return None if grown else SHARED
    (dim,) = grown
    if (two[dim], three[dim]) == (2, 3):
        return Axis(dim)
    if two[dim] % 2 or two[dim] // 2 * 3 != three[dim]:
        return None
    if like is not None:  # an argument of the same operation, flattened in the same way
        return Axis(dim, like.inner) if like.inner else None
    if share is None:
        return None
    theirs = share.movedim(dim, 0).reshape(two[dim], -1).ne(0).any(1)
    outside, inside = not theirs.view(2, -1)[1].any(), not theirs.view(-1, 2)[:, 1].any()
    return Axis(dim, 1 if outside else -1) if outside != inside and theirs.any() else None
