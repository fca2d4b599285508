"""ε* of a metric on a batch, and what it spends there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

import geosam
from geosam.metrics import Fisher
from geosam.observation import PredictiveDistribution
from geosam.problem import Bound

from ..data.batches import Batch


def solved(
    bound: Bound, metric: geosam.Metric, rho: float, also: Sequence[geosam.observation.Request] = ()
) -> tuple[geosam.Observation, list[Tensor]]:
    """What was seen at θ, with what is wanted beside the metric's own, and ε*."""
    observation = geosam.observe(bound, (*metric.needs, *also), type(metric).__name__)
    return observation, geosam.solve(metric.at(observation), observation.gradient, rho).epsilon


def spent(problem: geosam.Problem, metric: geosam.Metric, rho: float, batches: Sequence[Batch]) -> tuple[float, float]:
    """(KL, ‖ε‖₂) of ε* at radius rho, geometric means over the batches."""
    kls, lengths = [], []
    for x, y in batches:
        # not its distribution alone: the gradient is that of the records' pass
        observation, epsilon = solved(problem.on(x, y), metric, rho, Fisher().needs)
        kls.append(observation[PredictiveDistribution()].kl(epsilon).item())
        lengths.append(math.sqrt(sum(t.double().square().sum().item() for t in epsilon)))
    return geometric_mean(kls), geometric_mean(lengths)


def cosine(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """⟨a, b⟩/(‖a‖‖b‖), in float64: 1 − cosine is a difference."""
    u, v = (torch.cat([t.detach().double().flatten() for t in vector]) for vector in (a, b))
    return (u @ v / (u.norm() * v.norm())).item()


def geometric_mean(values: Sequence[float]) -> float:
    """NaN where a value is not finite."""
    if not all(math.isfinite(v) for v in values):
        return math.nan
    return math.exp(sum(math.log(max(v, 1e-300)) for v in values) / len(values))
