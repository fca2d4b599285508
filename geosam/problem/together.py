"""Several batches of one problem as one batch: micro-batches of one ball."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..core import Vectors, brief
from .bound import Bound
from .data import is_array
from .devices import explained
from .surface import Surface


class Together:
    """Micro-batches whose loss is that of the joined batch, L = Σ_k w_k L_k with w_k the share of samples in batch k.

    Where the loss's own denominator counts something else (class weights, ``ignore_index``), w_k is the share in that.
    Calling it takes a forward and backward pass a micro-batch; ``joined`` is the joined batch.
    A loss of one's own counts as a mean over samples: with another denominator, or where samples meet in it, L is the mean of
    the micro-batches' losses weighted by samples, while what a metric takes from the joined batch is that batch's.
    Raises: TypeError for what are not bound problems; ValueError for none, and for batches of several problems.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        if not parts:
            raise ValueError("the list of micro-batches is empty: a mean over no samples is not defined")
        wrong = next((part for part in parts if not isinstance(part, Bound)), None)
        if wrong is not None:
            raise TypeError(
                f"a list of micro-batches holds problems on them, [problem.on(x, y), ...]; got {type(wrong).__name__}. With a "
                "closure, loop over the micro-batches inside it."
            )
        if any(part.memory is not parts[0].memory for part in parts):
            raise ValueError("the micro-batches are of several problems: bind all of them to one, problem.on(x, y)")
        self.parts: list[Bound] = list(parts)

    @cached_property
    def shares(self) -> list[Tensor]:
        """w, one number a micro-batch, float64 on the parameters' device."""
        device = self.parts[0].parameters[0].device
        counts = [torch.as_tensor(_counted(part), dtype=torch.float64, device=device) for part in self.parts]
        total = torch.stack(counts).sum()
        return [count / total for count in counts]

    @cached_property
    def joined(self) -> Bound:
        """The joined batch. Raises: ValueError where batches do not fit each other."""
        first, n = self.parts[0], sum(part.n for part in self.parts)
        x, y = (_joined([getattr(part, name) for part in self.parts]) for name in ("x", "y"))
        return replace(first, x=x, y=y, n=n, inputs_with_grad=[t for part in self.parts for t in part.inputs_with_grad])

    def wrt(self, parameters: Vectors) -> Together:
        """The same, differentiated with respect to these parameters."""
        return Together([part.wrt(parameters) for part in self.parts])

    def scaled(self, scale: float) -> Together:
        """The same, differentiated at a GradScaler's scale."""
        return Together([part.scaled(scale) for part in self.parts])

    def surface(self) -> Surface:
        """ε ↦ L(θ + ε)."""
        return self.joined.surface()

    def __call__(self) -> Tensor:
        """Zero the gradients, forward and backward a micro-batch at a time; the loss, detached."""
        for p in self.parts[0].model.parameters():
            p.grad = None
        losses = []
        for i, (part, share) in enumerate(zip(self.parts, self.shares, strict=True), 1):
            # a wrapper that reduces gradients over processes does so with the last ones
            silent = getattr(part.model, "no_sync", nullcontext) if i < len(self.parts) else nullcontext
            with explained(part), torch.enable_grad(), silent():
                loss = part.batch_loss(part.call(part.model))
                loss = loss * share.to(loss)
                part.differentiated(loss).backward()
                losses.append(loss.detach())
        return torch.stack(losses).sum()


def _counted(part: Bound) -> Tensor | float:
    """The loss's denominator."""
    return part.n / part.sample.factor(part.y, part.outputs) if part.sample.known else part.n


def _joined(trees: Sequence[Any]) -> Any:
    flat, form = zip(*map(tree_flatten, trees), strict=True)
    if any(other != form[0] for other in form):
        raise ValueError("the micro-batches have other forms: each needs the same tensors in the same places")
    return tree_unflatten([_cat(leaves) for leaves in zip(*flat, strict=True)], form[0])


def _cat(leaves: Sequence[Any]) -> Any:
    if not isinstance(leaves[0], Tensor):
        return _one(leaves)
    if any(t.shape[1:] != leaves[0].shape[1:] for t in leaves):
        shapes = ", ".join(str(tuple(t.shape)) for t in leaves)
        raise ValueError(
            f"micro-batches of shapes {shapes} cannot be joined, which this metric needs. Pad them to one length, or call "
            "opt.perturb before each of them (one ball a micro-batch)."
        )
    return torch.cat(list(leaves))


def _one(values: Sequence[Any]) -> Any:
    """What is no tensor, and belongs to the whole batch. Raises: ValueError where micro-batches have others."""
    first = values[0]
    alike = all(v is first or (type(v) is type(first) and _equal(v, first)) for v in values)
    if not alike:
        told = " and ".join(dict.fromkeys(brief(v) for v in values))
        raise ValueError(
            f"micro-batches that hold {told} beside their tensors cannot be joined, which this metric needs: one batch has one "
            "such value. Give it as a tensor with one entry a sample, or call opt.perturb before each of them (one ball a "
            "micro-batch)."
        )
    return first


def _equal(a: Any, b: Any) -> bool:
    return a.shape == b.shape and bool((a == b).all()) if is_array(a) else bool(a == b)
