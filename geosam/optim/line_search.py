"""Base optimizers that call a closure themselves, several times in a step (LBFGS)."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from .step import Step


def searches(base: torch.optim.Optimizer) -> bool:
    """Whether it cannot step without a closure."""
    closure = inspect.signature(type(base).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def line_search(first: Step) -> Tensor:
    """The base optimizer's step, in which every call is one sharpness-aware gradient; the first call's loss."""
    rule, source, groups = first.rule, first.route.source, first.groups
    if first.is_plain and not first.turn.fields and rule.max_norm is None:
        return torch.as_tensor(rule.base.step(source)).detach()  # type: ignore[call-overload, no-any-return]
    losses: list[Tensor] = []

    def closure() -> Any:
        step = Step(rule, source, groups)
        losses.append(step.safety.whole(step.gradient))
        step.descent.withhold(groups.gradients)
        step.descent.clip()
        return losses[-1]

    rule.base.step(closure)
    return losses[0]
