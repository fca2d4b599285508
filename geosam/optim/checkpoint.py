"""What a checkpoint holds of geosam: memory, generators, the number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist

from ..observation import State
from ..observation.state import leaves
from . import rehearsal
from .descent import Descent
from .generators import generators
from .groups import Groups
from .processes import processes
from .rehearsal import Holder, everyone
from .schedules import Schedule

KEY = "geosam"


def saved(opt: Holder, groups: Groups, blank: Mapping[str, State] | None) -> dict[str, Any]:
    """The base optimizer's state with its radii, and geosam's part under ``KEY``.

    blank: memory of the right form for a fresh optimizer, None for one that has its own.
    """
    state = {**opt.base.state_dict(), KEY: _part(opt, blank)}
    for packed, rho in zip(_packed(state), groups.radii, strict=False):
        packed[groups.key] = rho  # a schedule is configuration, not state
    part = state[KEY]
    if opt.ball == "rank" and processes() > 1 and (part["holds"] or part["generators"]):
        state[KEY] = {_rank(): part}  # each process has memory of its own
    if rehearsal.is_read():
        first = next(i for i, p in enumerate(everyone(opt)) if p.requires_grad)
        state["state"] = {**state["state"], first: {**state["state"].get(first, {}), KEY: state[KEY]}}
    return state


def _packed(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups in a state; a wrapper's own (Lookahead) may have them with the optimizer inside, or none."""
    if "param_groups" in state:
        found: list[dict[str, Any]] = state["param_groups"]
        return found
    inside = (_packed(part) for part in state.values() if isinstance(part, Mapping))
    return next(filter(None, inside), [])


def _part(opt: Holder, blank: Mapping[str, State] | None) -> dict[str, Any]:
    """Memory by parameters' positions, and what else a resumed run needs."""
    memory = opt.memory if blank is None else blank
    found = opt.owners.saved(memory, everyone(opt))
    found["holds"] = " ".join(map("/".join, leaves(memory)))
    found["blank"], found["steps"] = blank is not None, opt.steps
    device = everyone(opt)[0].device  # one for all tensors, as torch asks for
    found["generators"] = [g.get_state().to(device) for g in generators((opt.metric, opt.objective, opt.update))]
    return found


def load(opt: Holder, groups: Groups, state: Mapping[str, Any]) -> None:
    """The inverse of :func:`saved`; schedules stay. Raises: RuntimeError for a checkpoint of which a part was not read."""
    base, found = _taken_out(state)
    scheduled = [group.get(groups.key) for group in opt.param_groups]
    if opt.move.lifts:  # torch casts the state to the parameters' type
        Descent(opt, groups).lift()
    try:
        opt.base.load_state_dict(base)
    finally:
        opt.move.lower()
    for group, rho in zip(opt.param_groups, scheduled, strict=True):
        if isinstance(rho, Schedule):
            group[groups.key] = rho
    rehearsal.check_filled(found)
    opt.steps = found.get("steps", 0)
    opt.memory = opt.owners.load({} if found.get("blank") else found, everyone(opt), groups.parameters)
    for generator, drawn in zip(generators((opt.metric, opt.objective, opt.update)), found.get("generators", ()), strict=False):
        generator.set_state(drawn.cpu())


def _taken_out(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the base optimizer's state, geosam's part, empty where there is none); the argument stays as it is."""
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
