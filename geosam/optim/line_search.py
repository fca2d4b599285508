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
    """The base optimizer's step, in which every call is one sharpness-aware gradient; the first call's loss at θ.

    What the base optimizer compares is L(θ + ε*), whose slopes are these gradients, as its mean over processes that have one
    gradient: each of them decides as the others do.
    """
    rule, source, groups, sharing = first.rule, first.route.source, first.groups, first.route.sharing
    if first.is_plain and not first.turn.fields and rule.max_norm is None:
        return torch.as_tensor(rule.base.step(source)).detach()  # type: ignore[call-overload, no-any-return]
    losses: list[Tensor] = []

    def closure() -> Any:
        step = Step(rule, source, groups)
        loss, there = step.safety.whole(step.gradient)
        losses.append(loss)
        step.descent.withhold(groups.gradients)
        step.descent.clip()
        return sharing.joint_loss(there) if sharing.audits else there

    rule.base.step(closure)
    return losses[0]
