"""What a perturbation does at a point."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

import geosam
from geosam.metrics import Fisher
from geosam.observation import PredictiveDistribution
from geosam.problem import Bound

from ..data.batches import Batch
from .config import Snapshots
from .result import Snapshot

LOSS = nn.CrossEntropyLoss()


def spent(problem: geosam.Problem, metric: geosam.Metric, rho: float, batches: Sequence[Batch]) -> tuple[float, float]:
    """(KL, ‖ε‖₂) of ε* at radius rho, geometric means over the batches."""
    kls, lengths = [], []
    for x, y in batches:
        needs = (*metric.needs, *Fisher().needs)  # not its distribution alone: the gradient is that of the records' pass
        observation = geosam.observe(problem.on(x, y), needs, type(metric).__name__)
        epsilon = geosam.solve(metric.at(observation), observation.gradient, rho).epsilon
        kls.append(observation[PredictiveDistribution()].kl(epsilon).item())
        lengths.append(math.sqrt(sum(t.double().square().sum().item() for t in epsilon)))
    return _geometric_mean(kls), _geometric_mean(lengths)


def snapshot(problem: geosam.Problem, batch: Batch, epoch: int, snapshots: Snapshots, kl: float) -> Snapshot:
    """All metrics at matched KL on one batch."""
    bound, match = problem.on(*batch), geosam.KL(kl)
    refused = {name: why for name, m in snapshots.metrics.items() if (why := _refusal(bound, m, match)) is not None}
    usable = {name: metric for name, metric in snapshots.metrics.items() if name not in refused}
    found = geosam.compare(bound, usable, match=match)
    return Snapshot(epoch=epoch, rows=found.to_dict()["rows"], cosine=found.cosine, refused=refused)


def _refusal(bound: Bound, metric: geosam.Metric, match: geosam.KL) -> str | None:
    try:
        geosam.calibrate(bound, metric, match=match)
    except ValueError as error:
        return str(error)
    return None


def _geometric_mean(values: Sequence[float]) -> float:
    if not all(math.isfinite(v) for v in values):
        return math.nan
    return math.exp(sum(math.log(max(v, 1e-300)) for v in values) / len(values))
