"""What a perturbation does at a point."""

from __future__ import annotations

from torch import nn

import geosam
from geosam.problem import Bound

from ..data.batches import Batch
from .config import Snapshots
from .result import Snapshot

LOSS = nn.CrossEntropyLoss()


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
