"""Radii that mean the same: the rho at which a metric's ε* has a given KL, Euclidean length or loss rise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from . import _vectors as vec
from ._abstract import Divergence, Metric, Needs, Objective
from ._vectors import Vectors
from .evidence import Evidence
from .metrics import KLDivergence
from .objectives import Gradient
from .problem import Bound
from .solvers import first_crossing, solve

_TOLERANCE, _EVALUATIONS = 1e-3, 30


@dataclass(frozen=True)
class Match(ABC):
    """What is to be equal, and its value > 0."""

    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise ValueError(f"{type(self).__name__}(value) must be finite and positive, got {self.value}")

    @property
    def needs(self) -> Needs:
        """Evidence that ``measure`` reads."""
        return Needs()

    @abstractmethod
    def measure(self, bound: Bound, evidence: Evidence, epsilon: Vectors) -> float:
        """The quantity at ε."""


class KL(Match):
    """E_x KL(p_{θ+ε} ‖ p_θ) = value, in nats, over the batch."""

    @property
    def needs(self) -> Needs:
        """The predictive distribution."""
        return Needs(predictive=True)

    def measure(self, bound: Bound, evidence: Evidence, epsilon: Vectors) -> float:
        """D(ε)."""
        assert evidence.predictive is not None, "collect() supplies the distribution"
        return evidence.predictive.kl(epsilon).item()


class Length(Match):
    """‖ε‖₂ = value."""

    def measure(self, bound: Bound, evidence: Evidence, epsilon: Vectors) -> float:
        """‖ε‖₂."""
        return vec.norm(epsilon).item()


class Rise(Match):
    """L(θ + ε) − L(θ) = value, on the batch."""

    def measure(self, bound: Bound, evidence: Evidence, epsilon: Vectors) -> float:
        """The loss rise."""
        return bound.rise(evidence.parameters, epsilon)


def calibrate(bound: Bound, metric: Metric, match: Match, objective: Objective | None = None) -> float:
    """The smallest rho at which ``match`` holds, to 0.1 %.

    bound: ``problem.on(x, y)``; the radius is right for this batch at these parameters. Raises: ValueError where the
    quantity saturates below the value asked for, or where the gradient is zero.
    """
    objective = objective or Gradient()
    evidence = bound.collect(metric.needs | objective.needs | match.needs, type(metric).__name__)
    geometry, c = metric.at(evidence), objective.at(evidence)
    if isinstance(geometry, KLDivergence) and isinstance(match, KL):
        return math.sqrt(2 * match.value)  # the budget itself
    ray = geometry.along if isinstance(geometry, Divergence) else geometry
    unit = solve(ray, c, 1.0)
    length = vec.norm(unit.epsilon).item()
    if length == 0 or not math.isfinite(length):
        raise ValueError("the gradient is zero or not finite: every rho gives the same ε = 0")
    epsilon = unit.epsilon

    def on_ray(t: float) -> float:
        return match.measure(bound, evidence, vec.scale(epsilon, t))

    # ε* is ρ times a fixed vector for a norm; for a divergence rho is what the budget reads at the point that matches
    if isinstance(match, Length):
        t = match.value / length
    else:
        crossing = first_crossing(on_ray, match.value, 0.01 / length, _TOLERANCE, _EVALUATIONS)
        if not crossing.met:
            raise ValueError(
                f"{type(metric).__name__}'s ε* reaches {type(match).__name__} {crossing.value:.3g} at most along its ray, not "
                f"{match.value:.3g}: the quantity saturates. Ask for less."
            )
        t = crossing.t
    if isinstance(geometry, Divergence):
        return math.sqrt(2 * geometry(vec.scale(epsilon, t)).item())
    return t
