"""The state of a model and its optimizer: read and written as one list of leaves, and set back after a rehearsal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ..problem.randomness import Replay, foreign
from .rule import Rule


def _members(rule: Rule) -> list[Tensor]:
    return [p for group in rule.base.param_groups for p in group["params"]]


def read(rule: Rule) -> tuple[list[Any], TreeSpec]:
    """(leaves, structure) of the base optimizer's state and of the memory that steps pass on."""
    states = [dict(rule.base.state.get(p, {})) for p in _members(rule)]
    return tree_flatten((states, {name: dict(memory) for name, memory in rule.memory.items()}))


def write(rule: Rule, leaves: Sequence[Any], structure: TreeSpec) -> None:
    """Put the leaves themselves in place; a parameter without any has no state."""
    states, memory = tree_unflatten(leaves, structure)
    for p, state in zip(_members(rule), states, strict=True):
        rule.base.state.pop(p, None)
        if state:
            rule.base.state[p] = state
    rule.memory.update(memory)


class Snapshot:
    """Parameters, buffers, gradients, state, the last step's numbers and the random state, to be set back bit for bit."""

    def __init__(self, rule: Rule, model: nn.Module) -> None:
        self.rule, self.last = rule, rule.last
        self.leaves, self.structure = read(rule)
        held = [*model.parameters(), *model.buffers(), *_members(rule), *self.leaves]
        tensors = {id(t): t for t in held if isinstance(t, Tensor)}.values()
        self.gradients = [(t, t.grad) for t in tensors if t.is_leaf]
        self.values = [(t, t.detach().clone()) for t in tensors]
        self.random = Replay.now(_members(rule), foreign(model))

    @torch.no_grad()
    def restore(self) -> None:
        """Set everything back."""
        write(self.rule, self.leaves, self.structure)
        for t, value in self.values:
            t.copy_(value)
        for t, gradient in self.gradients:
            t.grad = gradient
        self.rule.last = self.last
        self.random.rewind()
