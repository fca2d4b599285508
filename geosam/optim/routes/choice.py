"""Which route a source takes."""

from __future__ import annotations

from typing import Any

from ...problem import Bound, Together
from ..groups import Groups
from ..habits import check_source
from ..overflow import scale_of
from ..rule import Rule, Source
from ..trainers import wrapped
from .abstract import Route
from .closure import ByClosure
from .problem import ByProblem
from .trainer import ByTrainer


def route(source: Source, rule: Rule, groups: Groups, scaler: Any = None) -> Route:
    """scaler: a GradScaler. Raises: TypeError for what is no source; ValueError where nothing is to be trained; as
    :class:`geosam.optim.sharing.Sharing`.
    """
    if not groups.parameters:
        raise ValueError(
            "all parameters of the optimizer are frozen as the step begins: there is nothing to perturb. Set requires_grad "
            "before opt.step(...), not inside the closure."
        )
    given: Any = Together(source) if isinstance(source, list | tuple) else source
    check_source(given, scaler)
    held = wrapped(given)
    if held is not None:
        if scaler is not None:
            raise TypeError("a scaler goes with a closure that scales its own loss, or with problem.on(x, y) itself")
        return ByTrainer(given, held, rule, groups)
    scale = scale_of(scaler, groups.parameters[0])
    if isinstance(given, Bound | Together):
        return ByProblem(given, rule, groups, scale)
    return ByClosure(given, None, rule, groups, scale)
