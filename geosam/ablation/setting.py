"""All that the numbers of a run depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from ..measure.calibrate import Match
from ..problem import Problem
from ..records import LATER, Described
from .data import Data
from .method import Method, Optimizer, Sgd
from .score import Score, classified
from .statistics import Rule
from .tuned import Tuned

Step = Callable[[Any, Any], Tensor]


Look = Callable[[Any], Mapping[str, Any]]
"""A run's :class:`geosam.ablation.Training` ↦ numbers, nested or not, which change nothing in it."""


def plain_step(optimizer: Any, problem: Problem) -> Step:
    """``optimizer.step`` on a bound batch; the loss at θ."""
    return lambda x, y: optimizer.step(problem.on(x, y))


@dataclass(frozen=True)
class Setting(Described):
    """What all runs of an ablation share. Every field but the methods' and the seed is here; see :func:`geosam.ablate`."""

    model: Callable[[int], nn.Module]
    data: Callable[[int], Data]
    epochs: int = 20
    warmup: int = 0
    loss: Any = field(default_factory=nn.CrossEntropyLoss)
    problem: Callable[[nn.Module, Any], Problem] = Problem
    optimizer: Optimizer = field(default_factory=Sgd)
    match: float | Match | Tuned = 0.05
    probes: int = 4
    score: Callable[..., Score] = classified
    step: Callable[[Any, Problem], Step] = plain_step
    rule: Rule = field(default_factory=Rule)
    device: str = "cpu"
    look: Look | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("epochs", "warmup", "probes"):
            if not isinstance(getattr(self, name), Integral):
                raise TypeError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        if isinstance(self.optimizer, type) and issubclass(self.optimizer, torch.optim.Optimizer):
            raise TypeError(
                "optimizer makes one for a run, (named parameters, steps) ↦ optimizer or (optimizer, scheduler), such as "
                f"geosam.ablation.Sgd(lr=0.1); got the class {self.optimizer.__name__}"
            )
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"warmup must leave an epoch to compare: got {self.warmup} of {self.epochs}")
        if not isinstance(self.match, int | float | Match | Tuned) or isinstance(self.match, bool):
            raise TypeError(f"match is a radius, geosam.KL(...), Length(...), Rise(...) or Tuned(...); got {self.match!r}")
        for name in ("model", "data", "loss", "problem", "optimizer", "score", "step"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} must be something to call, got {getattr(self, name)!r}")
        if not (self.look is None or callable(self.look)):
            raise TypeError(f"look must be something to call with the training, got {self.look!r}")
        torch.device(self.device)


def check_settings(given: Mapping[str, Any]) -> None:
    """Raises: TypeError for a name that is no setting; of one that belongs elsewhere it says where."""
    known = [f.name for f in fields(Setting) if f.name not in ("model", "data")]
    for name in given:
        if name not in known:
            homes: dict[str, Any] = {
                "optimizer=geosam.ablation.Sgd": Sgd,
                "geosam.ablation.Method": Method,
                "rule=geosam.ablation.Rule": Rule,
            }
            told = [f"{home}({name}=...)" for home, kind in homes.items() if name in {f.name for f in fields(kind)}]
            told += ["match=0.05, the same for all"] if name == "rho" else []
            raise TypeError(f"ablate has no {name!r}: {' or '.join(told) or 'the settings are ' + ', '.join(known)}")


@dataclass(frozen=True)
class Run:
    """A method from a seed: a job. chosen: what a trial of tuning takes for rho and lr; None outside of tuning."""

    name: str
    method: Method
    seed: int
    setting: Setting
    chosen: tuple[tuple[str, float], ...] | None = None

    @property
    def title(self) -> str:
        """Method and seed, and in tuning the values tried."""
        tried = "".join(f", {name} {value:.4g}" for name, value in self.chosen or ())
        return f"{self.name}, seed {self.seed}{tried}"

    @property
    def epochs(self) -> int:
        """Of this run: those after the warm-up count ``stretch`` times."""
        return self.setting.warmup + self.method.stretch * (self.setting.epochs - self.setting.warmup)

    def passes(self, steps: int) -> int:
        """Gradients that it takes at ``steps`` an epoch, nominally: two a step of SAM."""
        return steps * (self.setting.warmup + self.method.passes * (self.epochs - self.setting.warmup))
