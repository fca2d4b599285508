"""What users of other SAM codes write, and what to write here: the cure in an error."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from .. import metrics, objectives, solvers
from . import passes, updates

_WRITE = (
    "The base optimizer holds the parameters and its own settings: geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), "
    "rho=0.05)."
)
_PARTS = {"metric": metrics, "objective": objectives, "solver": solvers, "update": updates, "passes": passes}
_PLACES = {
    "adaptive": "Adaptive SAM is a metric: metric=geosam.metrics.ParameterScaled().",
    "gamma": "The radius, Fisher SAM's gamma, is rho.",
    "radius": "The radius is rho.",
    "epsilon": "The radius is rho.",
    "m": "m-sharpness is opt.perturb(...) before each micro-batch, or ball='rank' over processes.",
    "scaler": "A GradScaler goes to opt.step(source, scaler=scaler).",
    "closure": "A closure goes to opt.step(closure).",
}
_FIRST = "opt.perturb(problem.on(x, y)) makes the first pass"
_SECOND = "opt.step() ends what opt.perturb(...) began; opt.step(closure) makes both passes"
_STEP = "opt.step(problem.on(x, y)) makes both passes"
_STATISTICS = "only the pass at θ updates running statistics, SAM(..., batchnorm='first'), so nothing has to be switched"
METHODS = {
    "first_step": _FIRST,
    "ascent_step": _FIRST,
    "perturb_weights": _FIRST,
    "second_step": _SECOND,
    "descent_step": _SECOND,
    "unperturb": "opt.restore() brings θ back; opt.step() and opt.base.step() do so by themselves",
    "minimize": _STEP,
    "set_closure": _STEP,
    "base_optimizer": "it is opt.base",
    "optimizer": "it is opt.base",
    "enable_running_stats": _STATISTICS,
    "disable_running_stats": _STATISTICS,
    "rho_t": "the radius is opt.rho, and may be a schedule: geosam.schedules",
    "update_rho_t": "the radius may be a schedule: opt.rho = geosam.schedules.FollowLR(0.05)",
}


def with_cure(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor whose errors of wrong arguments say what to write."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(*args: Any, **arguments: Any) -> None:
        try:
            signature.bind(*args, **arguments)
        except TypeError as error:
            base = args[1] if len(args) > 1 else arguments.get("base")
            strange = [name for name in arguments if name not in signature.parameters]
            told = next(filter(None, (_place(name, base) for name in strange)), _WRITE)
            raise TypeError(f"SAM: {error}. {told}") from None
        init(*args, **arguments)

    return wrapped


def _place(name: str, base: Any) -> str | None:
    """Where an argument that SAM does not take belongs; None where nothing here has it."""
    if name in _PLACES:
        return _PLACES[name]
    if name == "lr" or (isinstance(base, Optimizer) and name in base.defaults):
        return _WRITE
    parts = [(part, room, kind) for part, room in _PARTS.items() for kind in room.__all__]
    taking = [
        f"{part}=geosam.{room.__name__.rpartition('.')[2]}.{kind}({name}=...)"
        for part, room, kind in parts
        if name in getattr(getattr(room, kind), "__dataclass_fields__", ())
    ]
    return f"{name} belongs to a part: {', '.join(taking)}." if taking else None


def check_base(base: Any, wrapper: type) -> None:
    """Raises: TypeError unless ``base`` is an optimizer, and not itself a ``wrapper``."""
    if not isinstance(base, Optimizer) or isinstance(base, wrapper):
        got = f"the class {base.__name__}" if isinstance(base, type) else type(base).__name__
        raise TypeError(f"base must be a torch optimizer that holds the parameters, e.g. torch.optim.SGD; got {got}. {_WRITE}")


def check_assigned(opt: Any, name: str, settings: Callable[..., None]) -> None:
    """Raises: AttributeError for an attribute that no step would read: a setting of the base's groups, or a misspelt one of
    SAM's, the arguments of ``settings``.
    """
    if name in opt.base.defaults:
        raise AttributeError(f"{name} is a setting of groups: for group in opt.param_groups: group[{name!r}] = ...")
    if near := get_close_matches(name, inspect.signature(settings).parameters, 1, 0.9):
        raise AttributeError(f"SAM has no {name!r}; it is opt.{near[0]}")


def check_source(source: Any, scaler: Any) -> None:
    """Raises: TypeError for what is no closure or problem on a batch, and for a batch or a loss in the scaler's place."""
    if not callable(source) or isinstance(source, nn.Module | type):
        raise TypeError(
            f"step() needs a closure or problem.on(x, y), got {type(source).__name__}. A batch: opt.step(problem.on(x, y)) "
            "with problem = geosam.Problem(model, loss); a closure zeroes gradients, calls loss.backward() and "
            "returns the loss"
        )
    if isinstance(scaler, Tensor) or not (scaler is None or hasattr(scaler, "is_enabled")):
        raise TypeError(f"scaler is a torch GradScaler, got {type(scaler).__name__}; opt.step(problem.on(x, y)) takes a batch")
