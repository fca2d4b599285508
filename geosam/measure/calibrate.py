"""Comparable radii: the rho at which a metric's ε* has a given KL, Euclidean length or loss rise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..core import Divergence, Norm, Public, Vectors, check_instance, check_number
from ..core import vectors as vec
from ..core.undo import undisturbed
from ..objectives import Gradient
from ..observation import Metric, Needs, Objective, Observation, PredictiveDistribution, as_metric, name_of, observe
from ..problem import Bound
from ..solvers import first_crossing, solve
from .several import bounds_of

_TOLERANCE, _EVALUATIONS = 1e-3, 30


@dataclass(frozen=True)
class Match(Public, ABC):
    """The quantity to match, and its value > 0."""

    example: ClassVar[str] = "geosam.KL(0.01)"

    value: float

    def __post_init__(self) -> None:
        check_number(f"{type(self).__name__}(value)", self.value, positive=True)

    @property
    def needs(self) -> Needs:
        """The requests that ``measure`` reads."""
        return ()

    @abstractmethod
    def measure(self, bound: Bound, seen: Observation, epsilon: Vectors) -> float:
        """The quantity at ε."""


class KL(Match):
    """E_x KL(p_{θ+ε} ‖ p_θ) = value, in nats, over the batch."""

    @property
    def needs(self) -> Needs:
        """The predictive distribution."""
        return (PredictiveDistribution(),)

    def measure(self, bound: Bound, seen: Observation, epsilon: Vectors) -> float:
        """D(ε)."""
        return seen[PredictiveDistribution()].kl(epsilon).item()


class Length(Match):
    """‖ε‖₂ = value."""

    def measure(self, bound: Bound, seen: Observation, epsilon: Vectors) -> float:
        """‖ε‖₂."""
        return vec.norm(epsilon).item()


class Rise(Match):
    """L(θ + ε) − L(θ) = value, on the batch."""

    def measure(self, bound: Bound, seen: Observation, epsilon: Vectors) -> float:
        """The loss rise."""
        return bound.surface(seen.parameters).rise(epsilon)


@undisturbed
def calibrate(bound: Bound | Sequence[Bound], metric: Metric | Norm, match: Match, objective: Objective | None = None) -> float:
    """The rho at which ``match`` holds, to 0.1 %: the first crossing that a search outwards from 0 finds.

    bound: ``problem.on(x, y)``; the radius is right for this batch at these parameters. Of several batches it is the geometric
    mean of their radii: a radius is a scale. Raises: ValueError where the quantity stays below the value asked for, or is lost
    in rounding, or where the gradient is zero.
    """
    check_instance("match", match, Match)
    if isinstance(bound, Bound):
        return _calibrated(bound, metric, match, objective)
    each = [_calibrated(one, metric, match, objective) for one in bounds_of(bound)]
    return math.exp(math.fsum(map(math.log, each)) / len(each))


def _calibrated(bound: Bound, metric: Metric | Norm, match: Match, objective: Objective | None) -> float:
    metric, objective = as_metric(metric), objective or Gradient()
    for request in match.needs:
        request.check(bound, type(match).__name__)
    seen = observe(bound, (*metric.needs, *objective.needs, *match.needs), name_of(metric))
    geometry, c = metric.at(seen), objective.at(seen)
    ray = geometry.along if isinstance(geometry, Divergence) else geometry
    unit = solve(ray, c, 1.0)
    length = vec.norm(unit.epsilon).item()
    if length == 0 or not math.isfinite(length):
        raise ValueError("the gradient is zero or not finite: every rho gives the same ε = 0")
    epsilon = unit.epsilon

    def on_ray(t: float) -> float:
        return match.measure(bound, seen, vec.scale(epsilon, t))

    # ε* is ρ times a fixed vector for a norm; for a divergence rho is √(2D) at the point that matches
    if isinstance(match, Length):
        t = match.value / length
    else:
        crossing = first_crossing(on_ray, match.value, 0.01 / length, _TOLERANCE, _EVALUATIONS)
        if not crossing.met:
            raise ValueError(
                f"{name_of(metric)}'s ε* reaches {type(match).__name__} {crossing.value:.6g} along its ray, not "
                f"{match.value:.6g}: the quantity saturates there (ask for less) or is rounding (ask for more, or use float64)."
            )
        t = crossing.t
    if isinstance(geometry, Divergence):
        return math.sqrt(2 * geometry(vec.scale(epsilon, t)).item())
    return t
