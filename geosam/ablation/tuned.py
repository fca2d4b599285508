"""The same number of trials for every method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core import extra
from .statistics.rule import check_direction

Tried = tuple[dict[str, float], float | None]
"""Values and what they came to; None where the run diverged."""


@dataclass(frozen=True)
class Log:
    """Between low and high, evenly in the logarithm."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.low < self.high and math.isfinite(self.high)):
            raise ValueError(f"Log(low, high) needs 0 < low < high, got {self.low} and {self.high}")


@dataclass(frozen=True)
class Choice:
    """One of these."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(math.isfinite(v) and v > 0 for v in self.values):
            raise ValueError(f"Choice(values) needs finite positive values, got {self.values}")


@dataclass(frozen=True)
class Tuned:
    """rho, and where ``lr`` is given the base optimizer's rate, by so many trials a method.

    A trial is a run of full length from ``seed``, which no run of the ablation has, judged by ``score`` on the validation data.
    The base alone has no rho; without ``lr`` there is nothing to tune in it, and no trial. A method's own rho is kept.
    """

    trials: int = 8
    rho: Log | Choice = Log(0.01, 1.0)
    lr: Log | Choice | None = None
    score: str = "accuracy"
    larger: bool = True
    seed: int = 10_000

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"at least one trial a method, got {self.trials}")
        check_direction("Tuned", self.score, self.larger)

    def space(self, sharp: bool, own: bool) -> dict[str, Log | Choice]:
        """What is tuned in a method. sharp: it has a metric; own: and a radius."""
        rho = {"rho": self.rho} if sharp and not own else {}
        return {**rho, **({} if self.lr is None else {"lr": self.lr})}

    def suggest(self, space: dict[str, Log | Choice], tried: Sequence[Tried]) -> dict[str, float]:
        """The next trial, from what the ones before it came to (None: it diverged): the same whoever asks.

        Optuna's TPE, with a sampler made anew for every trial, so that nothing is lost with a process.
        """
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=self.seed + len(tried), n_startup_trials=max(3, self.trials // 2))
        study = optuna.create_study(direction="maximize" if self.larger else "minimize", sampler=sampler)
        kinds = {name: _distribution(optuna, axis) for name, axis in space.items()}
        for values, value in tried:
            state = optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.FAIL
            study.add_trial(optuna.trial.create_trial(params=values, distributions=kinds, value=value, state=state))
        asked: dict[str, float] = study.ask(kinds).params
        return asked

    def best(self, tried: Sequence[Tried]) -> dict[str, float]:
        """The values of the best trial; of equals the first. Raises: RuntimeError where every trial diverged."""
        usable = [(value if self.larger else -value, values) for values, value in tried if value is not None]
        if not usable:
            raise RuntimeError(f"all {len(tried)} trials diverged: tune over smaller values")
        return max(usable, key=lambda item: item[0])[1]


def _distribution(optuna: Any, axis: Log | Choice) -> Any:
    if isinstance(axis, Log):
        return optuna.distributions.FloatDistribution(axis.low, axis.high, log=True)
    return optuna.distributions.CategoricalDistribution(axis.values)


def _optuna() -> Any:
    with extra("tuning", "Tuned(...) needs Optuna", ", or give each method its rho"):
        import optuna
    return optuna
