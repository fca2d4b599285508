"""What trainers do around a step: closures that wrap a problem, scalers, steps that are left out."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from ..problem import Bound

NO_CLOSURE = (
    "step() takes two passes and needs a closure (zero_grad, forward, backward, return the loss) or problem.on(x, y): "
    "opt.step(closure). In a trainer's loop call opt.perturb(problem.on(x, y)) before its forward pass and give it opt.base, "
    "or use geosam.contrib.lightning.Callback or geosam.contrib.transformers.SAMTrainer"
)
NOT_THROUGH_SCALER = (
    "step() is not to be called through scaler.step(opt): the scaler cannot see both passes. Call "
    "opt.step(closure, scaler=scaler), or scaler.step(opt.base) after opt.perturb(...), then scaler.update()."
)

NOT_UNSCALED = (
    "scaler.unscale_(opt) is unknown to scaler.step(opt.base), which has divided the gradients by the scale once more: a "
    "scaler knows optimizers one by one. Call scaler.unscale_(opt.base)."
)

UNSCALED_TWICE = (
    "the closure unscales gradients in both of its passes, and a GradScaler does so once a step. Leave unscale_ and clipping "
    "out of it: geosam.SAM(..., max_norm=1.0) clips after both passes, when the scaler has unscaled."
)

STEPPED_INSIDE = (
    "the second pass left no gradient: an optimizer that steps inside the backward pass (hooks on parameters) has taken them "
    "at θ + ε*, and what it did there is undone. Take its hooks away; the base optimizer steps after both passes."
)

OVERWRITTEN = (
    "the parameters were written to since opt.perturb(...), by load_state_dict or another optimizer, and are those of before "
    "again. Call opt.restore() first, and then load; or use until='backward'."
)


def check_unscaled(opt: object) -> None:
    """In a hook of the base optimizer's step. Raises: TypeError where the GradScaler that takes it has unscaled ``opt``."""
    frame, depth = sys._getframe(1), 0
    while frame.f_back is not None and depth < 8:
        frame, depth = frame.f_back, depth + 1
        if frame.f_code.co_name in ("_maybe_opt_step", "step"):
            states = getattr(frame.f_locals.get("self"), "_per_optimizer_states", {})
            if getattr(states.get(id(opt), {}).get("stage"), "name", "") == "UNSCALED":
                raise TypeError(NOT_UNSCALED)


def wrapped(closure: Any) -> Bound | None:
    """The bound problem inside closures of ``functools.partial``, by which a trainer adds what comes after a pass."""
    if not isinstance(closure, partial):
        return None
    inside = (closure.func, *closure.args, *closure.keywords.values())
    return next((found for part in inside if (found := part if isinstance(part, Bound) else wrapped(part)) is not None), None)


def check_accumulation() -> None:
    """Raises: RuntimeError where Accelerate accumulates gradients: it leaves out ``step``, and so passes of micro-batches."""
    accelerate = sys.modules.get("accelerate.state")
    steps = 1 if accelerate is None else accelerate.GradientState().num_steps
    if steps > 1:
        raise RuntimeError(
            f"Accelerate accumulates gradients over {steps} micro-batches: it calls step(closure) for the last one only, "
            "divides its loss, and no pass is made of the others. Give accelerator.prepare the base optimizer, and call "
            "opt.perturb(problem.on(x, y)) before each forward pass inside accelerator.accumulate(model)."
        )
