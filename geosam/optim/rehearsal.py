"""Checkpoints that torch.distributed.checkpoint makes: it fills what an optimizer has, and keeps less than all.

It fills tensors that are there already, so it has a fresh optimizer take a step with zero gradients and lr = 0. It keeps
``state`` and ``param_groups`` only, so that where it is loaded the first parameter's state holds geosam's part too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..observation import Field, Observation, Remembering, State
from ..observation.state import leaves
from .memory import NAMES
from .rule import Rule

_READER = "torch.distributed.checkpoint.state_dict"

_NOT_FILLED = (
    "the checkpoint remembers {missing}, which was not read: torch.distributed.checkpoint fills the tensors that the optimizer "
    "has, and a fresh one has none of them. Enter opt.perturbed(...) once on any batch before the state to fill is asked for."
)


class Holder(Rule, Protocol):
    """The optimizer."""

    param_groups: list[dict[str, Any]]


def everyone(opt: Holder) -> list[Tensor]:
    """The parameters of all groups, frozen ones too, as torch counts them in checkpoints."""
    return [p for group in opt.param_groups for p in group["params"]]


def is_read() -> bool:
    """Whether torch.distributed.checkpoint asks, which keeps less than all; any other caller gets the state alone."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != _READER:
        frame = frame.f_back
    return frame is not None


def is_rehearsal(opt: Holder) -> bool:
    """Whether a step would change nothing but make the base optimizer's state: no state, gradients of 0, lr = 0."""
    held = [p.grad for p in everyone(opt) if p.requires_grad]
    still = all(float(group.get("lr", 0.0)) == 0 for group in opt.param_groups)
    return still and not opt.base.state and not any(g is None or bool(g.any()) for g in held)


def blank(opt: Holder, parameters: Vectors, names: list[str] | None) -> dict[str, State]:
    """The memory of a first step with zero gradients, where a gradient is all that is needed."""
    zero = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    seen = Observation(parameters, vec.zeros_like(parameters), zero, names)
    fields: dict[str, Field[Any] | None] = {"objective": opt.objective, "metric": opt.metric}
    reads = opt.update.reads(opt.metric)
    fields["update"] = None if reads is opt.metric else reads
    found: dict[str, State] = {name: {} for name in NAMES}
    for name, field in fields.items():
        if isinstance(field, Remembering) and not field.needs:
            found[name] = field.step(seen, {})[1]
    if opt.passes.reuses:
        found["passes"] = {"epsilon": vec.zeros_like(parameters)}
    return found


def check_filled(found: Mapping[str, Any]) -> None:
    """Raises: RuntimeError where the checkpoint remembered more than was read."""
    there = {"/".join(path) for path in leaves({name: found.get(name, {}) for name in NAMES})}
    missing = [path for path in found.get("holds", "").split() if path not in there]
    if missing:
        raise RuntimeError(_NOT_FILLED.format(missing=", ".join(missing)))
