"""What is measured after every epoch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

import geosam
from geosam import Observation, Relative
from geosam.ablation import Training
from geosam.metrics import DiagonalEmpiricalFisher, Fisher
from geosam.observation import PredictiveDistribution

from ..common.solved import cosine, geometric_mean
from ..frontier.magnitude import RelativeMagnitude


@dataclass(frozen=True)
class Apart:
    """ḡ² against (1/n) Σ gᵢ² at the run's θ, on its fixed batches, geometric means.

    direction: their cosine. scale: total over total. epsilon: cosine of the two ε*. fisher: εᵀFε of ḡ²'s ε* over that of the
    other at equal radius, F the true Fisher: the ratio of their KL as the radius goes to 0. Both have the same ``Relative``
    damping. least, factor: the rule. One stands in for the other where cosines lie above and ratios within the factor of 1.
    """

    damping: Relative = Relative(0.1)
    least: float = 0.9
    factor: float = 2.0

    def __call__(self, training: Training) -> dict[str, float]:
        """Also for the base optimizer: only θ is asked for."""
        found = [self._at(training.problem, x, y) for x, y in training.probes()]
        return {key: geometric_mean([numbers[key] for numbers in found]) for key in found[0]}

    def _at(self, problem: geosam.Problem, x: Tensor, y: Tensor) -> dict[str, float]:
        diagonal = DiagonalEmpiricalFisher(self.damping)
        seen = geosam.observe(problem.on(x, y), (*diagonal.needs, *Fisher().needs), "both diagonals")
        squares, magnitude = seen[diagonal.needs[0]], [g.square() for g in seen.gradient]
        mine, other = (
            geosam.solve(metric.at(seen), seen.gradient, 1.0).epsilon for metric in (RelativeMagnitude(self.damping), diagonal)
        )
        return {
            "direction": cosine(magnitude, squares),
            "scale": _total(magnitude) / _total(squares),
            "epsilon": cosine(mine, other),
            "fisher": _fisher(seen, mine) / _fisher(seen, other),
        }


def _total(diagonal: list[Tensor]) -> float:
    return sum(t.double().sum().item() for t in diagonal)


def _fisher(seen: Observation, v: list[Tensor]) -> float:
    products = seen[PredictiveDistribution()].fisher(v)
    return sum((a.double() * b.double()).sum().item() for a, b in zip(v, products, strict=True))
