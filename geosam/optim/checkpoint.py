"""What a checkpoint holds of geosam: memory, generators, the number of steps; also one that torch.distributed.checkpoint makes.

That module fills tensors which an optimizer has already, so it has a fresh one take a step with zero gradients and lr = 0; and
it keeps ``state`` and ``param_groups`` only, so that where it is loaded the first parameter's state holds geosam's part too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..observation import Field, Observation, Remembering, State
from ..observation.state import leaves
from .generators import generators
from .memory import NAMES
from .processes import processes
from .step import Rule

KEY = "geosam"
_READER = "torch.distributed.checkpoint.state_dict"

_NOT_FILLED = (
    "the checkpoint remembers {missing}, which was not read: torch.distributed.checkpoint fills the tensors that the optimizer "
    "has, and a fresh one has none of them. Enter opt.perturbed(...) once on any batch before the state to fill is asked for."
)


class Holder(Rule, Protocol):
    """The optimizer."""

    param_groups: list[dict[str, Any]]


def _everyone(opt: Holder) -> list[Tensor]:
    """The parameters of all groups, frozen ones too, as torch counts them in checkpoints."""
    return [p for group in opt.param_groups for p in group["params"]]


def saved(opt: Holder, blank: Mapping[str, State] | None) -> dict[str, Any]:
    """Memory by parameters' positions, and what else a resumed run needs.

    blank: memory of the right form for a fresh optimizer, None for one that has its own.
    """
    memory = opt.memory if blank is None else blank
    found = opt.owners.saved(memory, _everyone(opt))
    found["holds"] = " ".join(map("/".join, leaves(memory)))
    found["blank"], found["steps"] = blank is not None, opt.steps
    device = _everyone(opt)[0].device  # one for all tensors, as torch asks for
    found["generators"] = [g.get_state().to(device) for g in generators((opt.metric, opt.objective, opt.update))]
    return found


def share(state: dict[str, Any], opt: Holder) -> None:
    """Where each process has memory of its own, name whose it is; put geosam's part where torch's function finds it."""
    part = state[KEY]
    if opt.ball == "rank" and processes() > 1 and (part["holds"] or part["generators"]):
        state[KEY] = {_rank(): part}
    if _is_read():
        first = next(i for i, p in enumerate(_everyone(opt)) if p.requires_grad)
        state["state"] = {**state["state"], first: {**state["state"].get(first, {}), KEY: state[KEY]}}


def _is_read() -> bool:
    """Whether torch.distributed.checkpoint asks, which keeps less than all; nobody else gets more than the state."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != _READER:
        frame = frame.f_back
    return frame is not None


def taken_out(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the base optimizer's state, geosam's part, empty where there is none); the argument stays as it is.

    Raises: RuntimeError where each process has its own, and this one none.
    """
    base = dict(state)
    held = {key: entries for key, entries in base.get("state", {}).items() if isinstance(entries, Mapping) and KEY in entries}
    found = base.pop(KEY, next((entries[KEY] for entries in held.values()), {}))
    if held:
        own = {key: {name: v for name, v in entries.items() if name != KEY} for key, entries in held.items()}
        base["state"] = {key: own.get(key, entries) for key, entries in base["state"].items() if own.get(key, True)}
    if found and "steps" not in found and _rank() not in found:
        raise RuntimeError(
            f"the checkpoint has the memory of {', '.join(found)}, one a process as with ball='rank', and none for {_rank()}: "
            "let each process save its own, or go on with as many processes."
        )
    return base, found.get(_rank(), found)


def _rank() -> str:
    return f"rank{dist.get_rank() if processes() > 1 else 0}"


def check_filled(found: Mapping[str, Any]) -> None:
    """Raises: RuntimeError where the checkpoint remembered more than was read."""
    there = {"/".join(path) for path in leaves({name: found.get(name, {}) for name in NAMES})}
    missing = [path for path in found.get("holds", "").split() if path not in there]
    if missing:
        raise RuntimeError(_NOT_FILLED.format(missing=", ".join(missing)))


def load(opt: Holder, found: Mapping[str, Any], parameters: Vectors) -> None:
    """The inverse of :func:`saved`. Raises as :func:`check_filled`."""
    check_filled(found)
    opt.steps = found.get("steps", 0)
    opt.memory = opt.owners.load({} if found.get("blank") else found, _everyone(opt), parameters)
    for generator, drawn in zip(generators((opt.metric, opt.objective, opt.update)), found.get("generators", ()), strict=False):
        generator.set_state(drawn.cpu())


def is_rehearsal(opt: Holder) -> bool:
    """Whether a step would change nothing but make the base optimizer's state: no state, gradients of 0, lr = 0."""
    held = [p.grad for p in _everyone(opt) if p.requires_grad]
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
