"""Per-sample gradients by torch.func: exact for every model that vmap can run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .. import _vectors as vec
from .._vectors import Vectors
from ..rows import Engine, Materialised
from .checks import refuse_coupled_samples

if TYPE_CHECKING:
    from ..problem import Bound

_CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Func(Engine):
    """vmap(grad(ℓᵢ)). The rows are held in memory: 4nP bytes in float32; ``squares`` bounds this by chunks of samples.

    chunk_size: samples that are mapped at once; by default all for ``rows``, and as many as fit in 256 MiB for ``squares``.
    Right for tied weights, raw parameters, attention, GroupNorm, LSTM, Embedding, weight norm. Dropout draws one mask a
    sample. Where vmap has no rule for an operation the samples are taken one by one.
    Raises: ValueError for BatchNorm in training mode.
    """

    chunk_size: int | None = None

    def rows(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, Materialised]:
        """(ℓ, J) with J materialised."""
        losses, jacobian = _mapped(bound, parameters)(bound.x, bound.y, self.chunk_size)
        return losses, Materialised(jacobian)

    def squares(self, bound: Bound, parameters: Vectors) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """(ℓ, g, (1/n) Σ gᵢ²), chunk by chunk."""
        width = self.chunk_size or max(1, _CHUNK_BYTES // (4 * vec.count(parameters)))
        mapped = _mapped(bound, parameters)
        losses, total, squares = [], None, None
        for start in range(0, bound.n, width):
            x, y = tree_map(lambda t, s=start: t[s : s + width], (bound.x, bound.y))
            some, jacobian = mapped(x, y, None)
            part = Materialised(jacobian)
            sums, square = part.materialise(torch.ones_like(some)), vec.scale(part.mean_squares(), part.n)
            total = sums if total is None else vec.add(total, sums)
            squares = square if squares is None else vec.add(squares, square)
            losses.append(some)
        assert total is not None and squares is not None
        return torch.cat(losses), vec.scale(total, 1 / bound.n), vec.scale(squares, 1 / bound.n)


def _mapped(bound: Bound, parameters: Vectors) -> Callable[[Any, Any, int | None], tuple[Tensor, list[Tensor]]]:
    """(x, y, chunk) ↦ (ℓ, rows) for some samples; what belongs to the whole batch is computed here, once."""
    refuse_coupled_samples(bound.model)
    factor = bound.sample.factor(bound.y, bound.outputs)
    call = bound.pure(parameters)
    theta = [p.detach() for p in parameters]

    def loss(theta: list[Tensor], x: Any, y: Any) -> Tensor:
        x, y = tree_map(lambda t: t.unsqueeze(0), (x, y))
        return bound.sample.one(call(theta, x), y, factor)

    one = torch.func.grad_and_value(loss)

    def mapped(x: Any, y: Any, chunk: int | None) -> tuple[Tensor, list[Tensor]]:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="There is a performance drop")  # vmap's fallback: slower, not wrong
                every = torch.func.vmap(one, in_dims=(None, 0, 0), randomness="different", chunk_size=chunk)
                jacobian, losses = every(theta, x, y)
        except RuntimeError:  # no batching rule (LSTM in float64): an error of the model's own is raised again below
            n = tree_leaves(x)[0].shape[0]
            found = [one(theta, *tree_map(lambda t, i=i: t[i], (x, y))) for i in range(n)]
            jacobian = [torch.stack(rows) for rows in zip(*(g for g, _ in found), strict=True)]
            losses = torch.stack([value for _, value in found])
        return losses.detach(), [j.detach() for j in jacobian]

    return mapped
