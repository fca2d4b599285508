"""What is compared, and the base optimizer under all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core import Norm, Solver, brief, check_radius
from ..observation import Metric, Objective, as_metric
from ..optim import SAM
from ..optim.updates import Update
from ..records import Described

Schedule = Any
"""What has ``step`` and ``state_dict``, as torch's learning rate schedulers have."""

Built = torch.optim.Optimizer | tuple[torch.optim.Optimizer, Schedule]
SCHEDULES = ("cosine", "triangle", "constant")


@dataclass(frozen=True)
class Method(Described):
    """SAM in a geometry, or without a metric the base optimizer alone.

    rho: its own radius; by default the ablation's ``match`` decides. stretch: epochs for each of the others' after the
    warm-up: 2 gives SGD the compute of SAM.
    """

    metric: Metric | None = None
    objective: Objective | None = None
    update: Update | None = None
    solver: Solver | None = None
    rho: float | None = None
    stretch: int = 1

    def __post_init__(self) -> None:
        if self.stretch < 1:
            raise ValueError(f"stretch is how many epochs stand for one: 1 or more, got {self.stretch}")
        if self.rho is not None:
            check_radius(self.rho)
        if self.metric is not None:
            as_metric(self.metric)
        if self.metric is None and (self.objective, self.update, self.solver, self.rho) != (None,) * 4:
            raise ValueError("without a metric the base optimizer is alone: it has no objective, update, solver or rho")

    @property
    def passes(self) -> int:
        """Gradients a step: two, or one for the base alone and without a radius. What a metric adds to that is not counted."""
        return 1 if self.metric is None or self.rho == 0 else 2

    def around(self, base: torch.optim.Optimizer, rho: float) -> SAM:
        """The optimizer of this method."""
        return SAM(base, self.metric, rho, self.objective, solver=self.solver, update=self.update)


def as_method(value: Any) -> Method:
    """None, a metric or norm, (metric, objective) and (metric, objective, update) as methods."""
    if value is None or isinstance(value, Method):
        return value or Method()
    metric, *rest = value if isinstance(value, tuple) else (value,)
    if not isinstance(metric, Metric | Norm) or len(rest) > 2:
        raise TypeError(
            "a method is None (the base optimizer alone), a metric, (metric, objective, update) or a Method; "
            f"got {brief(value)}"
        )
    return Method(as_metric(metric), *rest)


def as_methods(methods: Mapping[str, Any]) -> tuple[tuple[str, Method], ...]:
    """By name, in their order."""
    if not isinstance(methods, Mapping) or not methods:
        raise TypeError(f"methods are {{name: metric}}, at least one; got {methods!r}")
    return tuple((str(name), as_method(value)) for name, value in methods.items())


@dataclass(frozen=True)
class Sgd:
    """SGD, by default with momentum and a cosine schedule to zero over all steps of the run.

    schedule: "cosine", "triangle" (up over the first fifth, then down to zero) or "constant".
    Any function (named_parameters, steps) → optimizer, or (optimizer, scheduler), can stand in its place; where a rate is
    tuned it gets it as ``lr``.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is one of {', '.join(SCHEDULES)}; got {self.schedule!r}")

    def __call__(self, parameters: Iterable[tuple[str, nn.Parameter]], steps: int, lr: float | None = None) -> Built:
        """The optimizer and its schedule."""
        rate = self.lr if lr is None else lr
        sgd = torch.optim.SGD(
            parameters,
            rate,
            self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,  # type: ignore[arg-type]
        )
        schedulers = torch.optim.lr_scheduler
        if self.schedule == "cosine":
            return sgd, schedulers.CosineAnnealingLR(sgd, steps)
        if self.schedule == "triangle":
            top = max(1, steps // 5)
            return sgd, schedulers.LambdaLR(sgd, lambda t: min((t + 1) / top, max(0.0, (steps - t) / max(1, steps - top))))
        return sgd


Optimizer = Callable[..., Built]
