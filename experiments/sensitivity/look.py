"""What is measured after every epoch."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from geosam.ablation import Training
from geosam.metrics import Euclidean

from ..common.solved import cosine, solved


@dataclass(frozen=True)
class Angle:
    """gap: 1 − cos(ε*, ε*_SAM) on the run's fixed batches, their mean. layer: within the parameter where that is largest.

    limit: the rule. Where the gap stays below it in every epoch, what is trained is in effect SAM.
    """

    limit: float = 1e-3

    def __call__(self, training: Training) -> dict[str, float]:
        """Nothing for the base optimizer, and in the warm-up."""
        metric = training.run.method.metric
        if training.radius is None or metric is None or metric == Euclidean():
            return {}
        gaps, layers = [], []
        for x, y in training.probes():
            observation, epsilon = solved(training.problem.on(x, y), metric, training.radius["rho"])
            gradient = observation.gradient  # ε*_SAM but for its length
            gaps.append(max(0.0, 1 - cosine(epsilon, gradient)))
            layers.append(max(1 - cosine([e], [g]) for e, g in zip(epsilon, gradient, strict=True) if g.any()))
        return {"gap": statistics.fmean(gaps), "layer": max(layers)}
