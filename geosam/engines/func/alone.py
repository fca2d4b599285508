"""Per-sample gradients by plain autograd, a pass a sample: where vmap or torch.func has no rule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core import Vectors
from ...core.undo import Attempt
from ...problem import Bound
from ...problem.gradient import filled, gradients, private


def rows(bound: Bound, factor: Tensor, outputs: bool) -> tuple[list[Tensor], Tensor, Any]:
    """(rows, ℓ, outputs if wanted). factor: of each sample's own loss."""
    losses, found, seen = [], [], []
    for i in range(bound.n):
        one, values = bound.part(i, i + 1), private(bound.parameters)
        z = _outputs(one, values)
        with one.reading(values):
            loss = one.sample.one(z, one.y, factor)
        found.append(filled(gradients(loss, z, values), one.parameters))
        losses.append(loss.detach())
        seen += [z.detach()] if outputs else []
    return [torch.stack(j) for j in zip(*found, strict=True)], torch.stack(losses), torch.cat(seen) if outputs else ()


def pulled(bound: Bound, cotangents: Tensor) -> list[Tensor]:
    """Jᵢᵀu for K cotangents of each sample's outputs, [K, n, ...] → [K, n, *shape] each."""
    each = [_pulled(bound.part(i, i + 1), u) for i, u in enumerate(cotangents.unbind(1))]
    return [torch.stack(r, 1) for r in zip(*each, strict=True)]


def _pulled(one: Bound, u: Tensor) -> list[Tensor]:
    values = private(one.parameters)
    z = _outputs(one, values)
    found = [filled(gradients(z, z, values, u=v.unsqueeze(0)), values) for v in u]
    return [torch.stack(rows) for rows in zip(*found, strict=True)]


def _outputs(one: Bound, values: Vectors) -> Any:
    """The outputs of a sample alone. Raises: ValueError where the model does not run on it."""
    attempt = Attempt()
    with torch.enable_grad():
        try:
            return one.pure(one.parameters)(values, one.x)
        except Exception as error:
            attempt.refused(error)
            raise ValueError(
                f"the model does not run on a sample alone ({type(error).__name__}: {str(error).strip().splitlines()[0]}), "
                "as where samples are the nodes of one graph, or a state of the whole batch is kept in it. Such a problem "
                "has no per-sample gradients; use a metric that needs none: GradientMagnitude, Fisher, "
                "KLExact(along=GradientMagnitude())."
            ) from error
