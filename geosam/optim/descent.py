"""What the base optimizer steps with: guarded, unscaled, clipped, in the type that it is to step on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from .clipping import clip
from .groups import Groups, explained
from .rule import Rule


class Descent:
    """The last act of a step. scaler: a GradScaler, whose scale the gradients carry."""

    def __init__(self, rule: Rule, groups: Groups, scaler: Any = None) -> None:
        self.rule, self.groups, self.scaler, self.parameters = rule, groups, scaler, groups.parameters

    def step(self) -> None:
        """The base optimizer's step, withheld where the gradient is not finite."""
        gradients = self.groups.gradients
        if self.scaler is not None:
            self._skipped(~vec.finite(gradients))
            if self.rule.max_norm is not None:
                self.scaler.unscale_(self.rule.base)
                self.clip()
            self.lift()
            self.scaler.step(self.rule.base)  # skips by itself where the scaled gradients overflowed, which is no error
            self.rule.move.lower()
            return
        skipped = self.withhold(gradients)
        self.clip()
        if not self._stands(skipped):
            self.lift()
            with explained(self.rule.base):
                self.rule.base.step()
            self.rule.move.lower()

    def withhold(self, gradients: Vectors) -> Tensor:
        """Set all gradients to 0 if one is not finite, by a selection on the device; whether that was so."""
        finite = vec.finite(gradients) if gradients else torch.tensor(True)
        skipped = self._skipped(~finite)
        if self.rule.raise_nonfinite and not finite:
            raise FloatingPointError("the second pass's gradient is not finite; the parameters are those before the step")
        if gradients:
            vec.keep_(finite, gradients)
        return skipped

    def leave_out(self) -> None:
        """As :meth:`withhold`, before a base optimizer that steps anyway: on a CPU the gradients are dropped."""
        if self._stands(self.withhold(self.groups.gradients)):
            for p in self.parameters:
                p.grad = None

    def clip(self, scale: float = 1.0) -> None:
        """Clip the gradients that the base optimizer steps with. scale: a GradScaler's, which they carry."""
        clip(self.parameters, self.rule.max_norm, scale)

    def lift(self) -> None:
        """Give the base optimizer the parameters that it is to step on."""
        if self.rule.move.lifts:
            self.rule.owners.sort(self.rule.memory, self.parameters, self.groups.names)
            self.lend_memory()
        self.rule.move.lift(self.parameters)

    def lend_memory(self) -> None:
        """Give the move what checkpoints hold of it."""
        self.rule.memory["move"] = self.rule.move.state = dict(self.rule.memory["move"])

    def _stands(self, skipped: Tensor) -> bool:
        """Whether the update is known to be withheld: on an accelerator nobody asks."""
        if not vec.reads_are_free([skipped]):
            return False
        assert self.rule.last is not None
        self.rule.watch.check_finite(self.rule.last)
        return bool(skipped)

    def _skipped(self, skipped: Tensor) -> Tensor:
        assert self.rule.last is not None
        self.rule.last = replace(self.rule.last, skipped=skipped)
        return skipped
