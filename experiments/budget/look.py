"""What is measured after every epoch."""

from __future__ import annotations

from dataclasses import dataclass

from geosam.ablation import Training

from ..common.solved import spent


@dataclass(frozen=True)
class Spent:
    """KL and length of the method's own ε* on the run's fixed batches, geometric means; spent: KL over ρ²/2.

    factor: the rule. A geometry probes neither too near nor too far where the KL of a run stays within it, largest over least.
    """

    factor: float = 2.0

    def __call__(self, training: Training) -> dict[str, float]:
        """Nothing for the base optimizer, and in the warm-up."""
        metric = training.run.method.metric
        if training.radius is None or metric is None:
            return {}
        rho = training.radius["rho"]
        kl, length = spent(training.problem, metric, rho, training.probes())
        return {"kl": kl, "length": length, "spent": kl / (rho**2 / 2)}
