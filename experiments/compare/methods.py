"""The methods of the study: SGD, and SAM in each geometry."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geosam import Metric
from geosam.metrics import (
    Blockwise,
    DiagonalEmpiricalFisher,
    EmpiricalFisher,
    Euclidean,
    Fisher,
    GradientMagnitude,
    KLExact,
    Monge,
    ParameterScaled,
    Relative,
)


@dataclass(frozen=True)
class Method:
    """metric: SAM's geometry, None for SGD. stretch: how many epochs it has for each of the others' after the warm-up."""

    name: str
    metric: Metric | None = None
    stretch: int = 1


REFERENCE = "Euclidean (SAM)"
PUBLISHED = "GradientMagnitude η=1"  # Fisher SAM as its paper's section 5 has it
SGD, SGD_EQUAL = "SGD, half the compute", "SGD, equal compute"

# Each layer has a ball of its own, and the normalisation's scales and shifts stay where they are.
LAYERWISE = Blockwise(
    {"norm*": (Euclidean(), 0.0), **{f"{layer}.*": (Euclidean(), 1.0) for layer in ("conv1", "conv2", "conv3", "head")}},
    p=math.inf,
)

METHODS = (
    Method(SGD),
    Method(SGD_EQUAL, stretch=2),
    Method(REFERENCE, Euclidean()),
    Method(PUBLISHED, GradientMagnitude(eta=1.0, damping=1.0)),
    Method("Monge", Monge()),
    Method("KLExact along Euclidean", KLExact(along=Euclidean())),
    Method("Blockwise, a ball a layer", LAYERWISE),
    Method("GradientMagnitude η=10⁴", GradientMagnitude(eta=1e4, damping=1.0)),
    Method("DiagonalEmpiricalFisher", DiagonalEmpiricalFisher(damping=Relative(0.1))),
    Method("EmpiricalFisher", EmpiricalFisher(damping=Relative(0.1))),
    Method("KLExact along EmpiricalFisher", KLExact(along=EmpiricalFisher(damping=Relative(0.1)))),
    Method("ParameterScaled (ASAM)", ParameterScaled(eta=0.01)),
)

# In snapshots also the model's own Fisher, whose conjugate gradients are too slow here for a whole run. rows_limit = 0: 64
# images have 640 rows, which would be solved by their Gram matrix instead.
SNAPSHOT_METRICS = {m.name: m.metric for m in METHODS if m.metric is not None} | {
    "Fisher (CG)": Fisher(damping=2e-3, tolerance=1e-2, iterations=30, rows_limit=0)
}
