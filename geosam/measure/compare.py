"""What each metric does to the perturbation, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ..core import Norm, Vectors, brief, check_instance, check_radius
from ..core import vectors as vec
from ..core.undo import undisturbed
from ..norms import MatrixFree
from ..objectives import Gradient
from ..observation import Metric, Objective, Observation, PredictiveDistribution, as_metric, name_of, observe
from ..problem import Bound
from ..solvers import solve
from .calibrate import Match, calibrate
from .comparison import Comparison, Row
from .meter import Meter


@undisturbed
def compare(
    bound: Bound,
    metrics: Metric | Norm | Sequence[Metric | Norm] | Mapping[str, Metric | Norm],
    rho: float | None = None,
    match: Match | None = None,
    objective: Objective | None = None,
) -> Comparison:
    """Solve for ε* under each metric on one batch and measure it.

    rho: the same radius for all, which means nothing unless the metrics share a scale; match: instead calibrate each to
    the same KL, length or loss rise. Give one of the two. Parameters, gradients and buffers are unchanged.
    """
    if (rho is None) == (match is None):
        raise ValueError("give either rho (the same radius for all) or match (KL, Length or Rise, calibrated for each)")
    check_instance("a batch", bound, Bound)
    if match is not None:
        check_instance("match", match, Match)
    if not isinstance(metrics, Metric | Norm) and not metrics:
        raise ValueError("there is nothing to compare: name a metric at least, such as [geosam.metrics.Euclidean()]")
    objective = objective or Gradient()
    named = metrics if isinstance(metrics, Mapping) else _named([metrics] if isinstance(metrics, Metric | Norm) else metrics)
    reference = _Reference.of(bound)
    rows, directions = [], []
    for name, given in named.items():
        metric = as_metric(given)
        radius = check_radius(rho) if rho is not None else calibrate(bound, metric, match, objective)  # type: ignore[arg-type]
        row, epsilon = _row(name, bound, metric, radius, objective, reference)
        rows.append(row)
        directions.append(epsilon)
    # in float64: 1 − cosine is a difference, and float32 sums would hide everything below 1e-7
    wide = [vec.map(Tensor.double, d) for d in directions]
    products = torch.stack([torch.stack([vec.dot(a, b) for b in wide]) for a in wide])
    lengths = products.diagonal().sqrt()
    return Comparison(rows, (products / torch.outer(lengths, lengths)).nan_to_num(0.0).tolist())


def _named(metrics: Sequence[Metric | Norm]) -> dict[str, Metric | Norm]:
    """By class; several of one class by what differs between them."""
    kinds = [type(m) for m in metrics]
    names = [
        _told(m, [o for o in metrics if type(o) is kind]) if kinds.count(kind) > 1 else kind.__name__
        for m, kind in zip(metrics, kinds, strict=True)
    ]
    if len(set(names)) < len(names):
        raise ValueError(f"two of the metrics are the same, {', '.join(names)}: give them names, {{name: metric}}")
    return dict(zip(names, metrics, strict=True))


def _told(metric: Metric | Norm, like: Sequence[Metric | Norm]) -> str:
    own: list[str] = [f.name for f in fields(metric)] if is_dataclass(metric) else []
    parts = (f"{name}={brief(getattr(metric, name))}" for name in own if len({brief(getattr(o, name)) for o in like}) > 1)
    return f"{type(metric).__name__}({', '.join(parts)})"


@dataclass(frozen=True)
class _Reference:
    """What all rows are compared with: the plain gradient, and the true Fisher's dual norm of it."""

    seen: Observation
    dual_norm: Tensor | None

    @classmethod
    def of(cls, bound: Bound) -> _Reference:
        if bound.likelihood is None:
            return cls(observe(bound), None)
        seen = observe(bound, (PredictiveDistribution(),), "compare")
        # Undamped: g lies in the range of F, where conjugate gradients stay. √⟨g, v⟩ grows with every iteration, so that an
        # early stop can only overstate an efficiency, by about 1e-3 at this tolerance.
        fisher = MatrixFree(seen[PredictiveDistribution()].fisher, seen.parameters, 0.0, tolerance=3e-3, iterations=200)
        return cls(seen, fisher.dual_norm(seen.gradient))


def _row(
    name: str, bound: Bound, metric: Metric, rho: float, objective: Objective, reference: _Reference
) -> tuple[Row, Vectors]:
    def run() -> tuple[list[Tensor], dict[str, Any]]:
        seen = observe(bound, (*metric.needs, *objective.needs), name_of(metric))
        found = solve(metric.at(seen), objective.at(seen), rho)
        return found.epsilon, dict(found.report)

    with Meter() as meter:
        vec.norm(run()[0]).item()  # a host read: an accelerator's queue is empty when the clock starts
    start = time.perf_counter()
    epsilon, report = run()
    length, seconds = vec.norm(epsilon).item(), time.perf_counter() - start

    base = reference.seen
    predicted = vec.dot(base.gradient, epsilon).item()
    kl = spent = efficiency = None
    if reference.dual_norm is not None:
        kl = base[PredictiveDistribution()].kl(epsilon).item()
        spent = kl / (rho**2 / 2) if rho else None
        efficiency = predicted / (reference.dual_norm.item() * (2 * kl) ** 0.5) if kl > 0 and reference.dual_norm > 0 else None
    return (
        Row(
            name=name,
            rho=rho,
            length=length,
            kl=kl,
            spent=spent,
            efficiency=efficiency,
            predicted_rise=predicted,
            actual_rise=bound.surface(base.parameters).rise(epsilon),
            seconds=seconds,
            extra_bytes=meter.peak,
            share=_share(base, epsilon),
            report=report,
        ),
        epsilon,
    )


def _share(seen: Observation, epsilon: Vectors) -> dict[str, float]:
    """‖ε_layer‖²/‖ε‖² by the module that owns the parameters."""
    total = vec.dot(epsilon, epsilon)
    shares: dict[str, float] = {}
    for i, ((name, _), e) in enumerate(zip(seen.named(), epsilon, strict=True)):
        layer = str(i) if name is None else name.rpartition(".")[0] or name
        shares[layer] = shares.get(layer, 0.0) + (vec.dot([e], [e]) / total).nan_to_num().item()
    return shares
