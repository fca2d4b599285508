"""What users of other SAM codes write, and what to write here: the cure in an error."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

_WRITE = (
    "The base optimizer holds the parameters and its own settings: geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), "
    "rho=0.05)."
)
_PLACES = {
    "adaptive": "Adaptive SAM is a metric: metric=geosam.metrics.ParameterScaled().",
    "eta": "eta belongs to a metric: metric=geosam.metrics.GradientMagnitude(eta=1.0) or ParameterScaled(eta=0.01).",
    "gamma": "The radius, Fisher SAM's gamma, is rho.",
    "alpha": "GSAM's alpha belongs to the update: update=geosam.updates.SurrogateGap(alpha=0.1).",
}
METHODS = {
    "first_step": "opt.perturb(problem.on(x, y)) makes the first pass",
    "second_step": "opt.step() ends what opt.perturb(...) began; opt.step(closure) makes both passes",
    "ascent_step": "opt.perturb(problem.on(x, y)) makes the first pass",
    "descent_step": "opt.step() ends what opt.perturb(...) began; opt.step(closure) makes both passes",
}


def with_cure(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor whose errors of wrong arguments say what to write."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(*args: Any, **arguments: Any) -> None:
        try:
            signature.bind(*args, **arguments)
        except TypeError as error:
            told = next((_PLACES[name] for name in _PLACES if name in arguments), _WRITE)
            raise TypeError(f"SAM: {error}. {told}") from None
        init(*args, **arguments)

    return wrapped


def check_base(base: Any, wrapper: type) -> None:
    """Raises: TypeError unless ``base`` is an optimizer, and not itself a ``wrapper``."""
    if not isinstance(base, Optimizer) or isinstance(base, wrapper):
        got = f"the class {base.__name__}" if isinstance(base, type) else type(base).__name__
        raise TypeError(f"base must be a torch optimizer that holds the parameters, e.g. torch.optim.SGD; got {got}. {_WRITE}")
