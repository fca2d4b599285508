"""What a captured step has fixed, and what it cannot take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.sharded import any_sharded
from ..problem.modules import training_modes
from .groups import Groups
from .recorder import refusal
from .rule import Rule

CAPTURABLE = (
    "an optimizer that can be captured has its counters on the device: Adam(..., capturable=True), SGD(..., fused=True)"
)


class Fixed:
    """The parameters, settings, modes and parts that a graph was recorded with."""

    def __init__(self, rule: Rule, model: nn.Module, groups: Groups) -> None:
        self.rule, self.model = rule, model
        self._then = self._now(groups)

    def check(self, groups: Groups) -> None:
        """Raises: RuntimeError naming what is no longer the same."""
        now = self._now(groups)
        for name, then in self._then.items():
            if now[name] != then:
                raise stale(name)

    def _now(self, groups: Groups) -> dict[str, Any]:
        """By a name for errors."""
        rule, kind = self.rule, groups.parameters[0].device.type
        settings = set(rule.base.defaults) - {"lr", groups.key}
        return {
            "the parameters": [(id(p), p.data_ptr()) for p in groups.parameters],
            "the groups' settings": [_constant(group[k]) for group in rule.base.param_groups for k in sorted(settings)],
            "the model's training mode": training_modes(self.model),
            "autocast": (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)),
            "the optimizer's parts": [
                *(rule.metric, rule.objective, rule.solver, rule.passes, rule.max_norm),
                *(id(rule.update), id(rule.move)),
            ],
        }


def stale(name: str) -> RuntimeError:
    """The error for a graph that would repeat what is no longer so."""
    return RuntimeError(
        f"{name} changed since the step was captured, and a graph repeats what it recorded. Call opt.captured again."
    )


def _constant(value: Any) -> Any:
    return id(value) if isinstance(value, Tensor) else value


def check_capturable(rule: Rule, groups: Groups) -> None:
    """Raises where it is known beforehand that a graph would be wrong."""
    if rule.move.lifts:
        raise refusal(f"{type(rule.move).__name__} changes the type of the parameters while the base optimizer steps")
    if rule.raise_nonfinite:
        raise refusal("raise_nonfinite=True reads on the host whether the passes were finite")
    if rule.same_mask:
        raise refusal("same_mask=True sets random numbers back, which a graph cannot")
    if any_sharded(groups.parameters):
        raise refusal("the parameters are sharded over processes, which is not captured")
    if len({p.device for p in groups.parameters}) > 1:
        raise refusal("the parameters are on several devices")
    for group in rule.base.param_groups:
        if not group.get("capturable", True):
            raise refusal(f"capturable is False; {CAPTURABLE}")
        if "capturable" not in group and not group.get("fused", True):
            raise refusal(
                f"{type(rule.base).__name__} without fused=True reads its learning rate on the host, so that no schedule "
                "could change it; pass fused=True"
            )
