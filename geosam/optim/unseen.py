"""What stands for a pass at θ in steps that make none."""

from __future__ import annotations

import torch

from ..core import Perturbation, Vectors
from ..observation import Observation, name_of
from .groups import Groups
from .last import unknown
from .rule import Rule


def last_epsilon(rule: Rule, parameters: Vectors) -> Perturbation | None:
    """ε* of the last first pass; None where there was none with all parameters."""
    epsilon = rule.memory["passes"].get("epsilon")
    if epsilon is None or any(e is None for e in epsilon):
        return None
    nan = unknown(parameters)
    one = torch.ones_like(nan)
    return Perturbation(epsilon, one, nan, nan, one > 0)


def momentum(rule: Rule, groups: Groups) -> Observation | None:
    """The base optimizer's averages of gradients in the gradient's place; None while a parameter has none.

    Raises: TypeError where the geometry needs more.
    """
    states = [rule.base.state.get(p, {}) for p in groups.parameters]
    found = [s.get("momentum_buffer", s.get("exp_avg")) for s in states]
    if any(m is None for m in found):
        return None
    for field in (rule.metric, rule.objective):
        if field.needs:
            raise TypeError(f"{name_of(field)} needs more than a gradient, and passes.Momentum() makes no pass for it")
    return Observation(groups.parameters, found, torch.zeros_like(unknown(groups.parameters)), groups.names)
