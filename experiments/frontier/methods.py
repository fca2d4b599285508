"""The approximations that are set side by side."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace

from geosam import Metric, Relative
from geosam.metrics import (
    BlockDiagonal,
    DiagonalEmpiricalFisher,
    DiagonalFisher,
    EmpiricalFisher,
    Euclidean,
    Exact,
    Fisher,
    GradientMagnitude,
    KLExact,
    KroneckerFisher,
    MonteCarlo,
)

from .magnitude import RelativeMagnitude

SHARED = Relative(1e-3)
"""The damping that all share. The reference direction has it too."""

KINDS = ("no Fisher", "diagonal", "blocks", "full, other rows", "full, true")


@dataclass(frozen=True)
class Method:
    """name: in tables; label: in the figure; kind: one of ``KINDS``."""

    name: str
    label: str
    kind: str
    metric: Metric


EXACT = Fisher(SHARED, Exact())
LOOSE = Fisher(SHARED, tolerance=1e-1, iterations=10, rows_limit=0)
TIGHT = Fisher(SHARED, tolerance=1e-3, iterations=200, rows_limit=0)
REFERENCE, FLOOR = "Fisher, exact (Gram)", "Euclidean"

METHODS = (
    Method(FLOOR, "Euclidean", "no Fisher", Euclidean()),
    Method("GradientMagnitude η=1, as published", "ḡ², published", "no Fisher", GradientMagnitude(1.0, 1.0)),
    Method("GradientMagnitude, nearly undamped", "ḡ²", "diagonal", RelativeMagnitude(SHARED)),
    Method("DiagonalEmpiricalFisher", "diag, data labels", "diagonal", DiagonalEmpiricalFisher(SHARED)),
    Method("DiagonalFisher, 1 label", "diag, 1 label", "diagonal", DiagonalFisher(SHARED, MonteCarlo(1))),
    Method("DiagonalFisher, exact", "diag, exact", "diagonal", DiagonalFisher(SHARED, Exact())),
    Method("KroneckerFisher, exact", "Kronecker", "blocks", KroneckerFisher(SHARED, Exact(), rest=DiagonalFisher(SHARED))),
    Method("BlockDiagonal(Fisher, exact)", "layer blocks", "blocks", BlockDiagonal(EXACT)),
    Method("EmpiricalFisher", "full, data labels", "full, other rows", EmpiricalFisher(SHARED)),
    Method("Fisher, 1 label", "full, 1 label", "full, other rows", Fisher(SHARED, MonteCarlo(1))),
    Method("Fisher, 10 labels", "full, 10 labels", "full, other rows", Fisher(SHARED, MonteCarlo(10))),
    Method("Fisher, CG to 10⁻¹, 10 steps", "CG, loose", "full, true", LOOSE),
    Method("Fisher, CG to 10⁻³, 200 steps", "CG, tight", "full, true", TIGHT),
    Method(REFERENCE, "full, exact", "full, true", EXACT),
    Method("KLExact along Fisher, exact", "exact, KL met", "full, true", KLExact(along=EXACT)),
)  # fmt: skip


def damped(metric: Metric, ratio: float) -> Metric:
    """The same metric with every ``Relative`` damping in it at this ratio; itself where there is none."""
    if not is_dataclass(metric):
        return metric
    held = {f.name: getattr(metric, f.name) for f in fields(metric)}
    changed = {name: Relative(ratio) for name, value in held.items() if isinstance(value, Relative)}
    changed |= {name: damped(value, ratio) for name, value in held.items() if isinstance(value, Metric)}  # type: ignore[misc]
    return replace(metric, **changed) if changed else metric
