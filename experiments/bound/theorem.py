"""What Fisher SAM's theorem adds to the worst training loss."""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from theory.pac_bayes import bound, final_step

from .config import Run


def added(run: Run, G: Tensor, travelled: float) -> tuple[float, float, float]:
    """(largest eigenvalue, what the theorem adds with the proved cover, and with the volume's floor on log J).

    In the bound's favour: ε_min = 0; Θ the ball around the initial values that just reaches θ; Λ of this θ; the best r.
    It lies in a ball of radius R = ``travelled``, so that 1 + 2R√Λ/r counts its cover as ``covering`` does one of diameter R.
    """
    n, k, gamma = run.training.train_size, len(G), run.method.gamma
    values = torch.linalg.eigvalsh(G)
    largest = float(values[-1])
    best, _ = bound.exchange(travelled * math.sqrt(largest) / gamma)

    def constants(t: float) -> final_step.Instance:
        return final_step.Instance(k, n, run.delta, gamma, t * gamma, 0.0, travelled, largest)

    def with_floor(log_t: float) -> float:
        case = constants(math.exp(log_t))
        log_j = max(0.0, k * math.log(travelled / case.radius) + float(values.log().sum()) / 2)
        return math.sqrt((case.complexity - case.log_cover + log_j) / (2 * (n - 1)))

    proved = minimize_scalar(
        lambda log_t: bound.fisher_sam(constants(math.exp(log_t))).total,
        bounds=(math.log(best) - 6, math.log(best) + 1),
        method="bounded",
    )
    least = minimize_scalar(with_floor, bounds=(math.log(best) - 9, math.log(best) + 9), method="bounded")
    return largest, float(proved.fun), float(least.fun) + 1 / math.sqrt(n)
