"""Outputs that are no single tensor: dicts, tuples, dataclasses and other objects, and what a likelihood reads of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from .reading import tensors, walk


def replaced(tree: Any, make: Callable[[Tensor], Tensor]) -> Any:
    """A copy with ``make(t)`` in place of each tensor t."""
    return make(tree) if isinstance(tree, Tensor) else copy.deepcopy(tree, {id(t): make(t) for t in tensors(tree)})


def detached(tree: Any) -> Any:
    """The same outputs without a graph."""
    return replaced(tree, Tensor.detach)


@dataclass(frozen=True, eq=False)
class View:
    """The part of the outputs that a likelihood reads, as one tensor z [n, ...]. form: the outputs, on the meta device.

    places: of the tensors that are read, among all. Several are flattened and stood side by side.
    """

    form: Any
    places: tuple[int, ...]
    likelihood: Callable[[Any], Distribution]

    def read(self, outputs: Any) -> Tensor:
        """outputs → z."""
        found = tensors(outputs)
        parts = [found[i] for i in self.places]
        return parts[0] if len(parts) == 1 else torch.cat([t.flatten(1) for t in parts], 1)

    def predicted(self, z: Tensor) -> Distribution:
        """z → the distribution."""
        form = tensors(self.form)
        shapes = [form[i].shape[1:] for i in self.places]
        parts = z.split([s.numel() for s in shapes], 1) if len(shapes) > 1 else [z]
        given = {id(form[i]): t.reshape(-1, *s) for i, t, s in zip(self.places, parts, shapes, strict=True)}
        return self.likelihood(copy.deepcopy(self.form, {id(t): given.get(id(t), t) for t in form}))


def view(likelihood: Callable[[Any], Distribution], outputs: Any, n: int) -> View | None:
    """What the likelihood reads of these outputs; None where that is not tensors with the batch first."""
    leaves = {id(t): t.detach().requires_grad_(t.is_floating_point()) for t in tensors(outputs)}
    with torch.enable_grad():
        distribution = likelihood(replaced(outputs, lambda t: leaves[id(t)]))
    met: set[int] = set()
    for t in tensors(distribution):
        met.add(id(t))
        if t.grad_fn is not None:
            walk(t.grad_fn, lambda leaf: met.add(id(leaf)))
    places = tuple(i for i, leaf in enumerate(leaves.values()) if id(leaf) in met)
    read = [list(leaves.values())[i] for i in places]
    if not read or any(not t.is_floating_point() or not t.dim() or t.shape[0] != n for t in read):
        return None
    return View(replaced(outputs, on_meta), places, likelihood)


def on_meta(t: Tensor) -> Tensor:
    """Its form without its numbers."""
    return torch.empty_like(t, device="meta")
