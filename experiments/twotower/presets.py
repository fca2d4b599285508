"""Rows: a geometry at each radius of a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from geosam.ablation import Method, Rule, Sgd
from geosam.metrics import Euclidean, Monge, ParameterScaled

from ..common.methods import ASAM, MONGE, SAM, SGD
from ..common.protocol import Protocol
from ..common.source import Source
from .loss import by_retrieval, contrastive

TITLE = "Radii of a two-tower alignment"
GRID = (0.01, 0.03, 0.1, 0.3)
"""From where a trial of SAM (seed 0) was as SGD, to where it had failed; the same numbers for Monge SAM, whose ε is shorter."""
MIDDLE = 0.03
STRETCH: Mapping[str, float] = {SAM: 1.0, MONGE: 1.0, ASAM: 10.0}  # ASAM's published radii are ten times SAM's


def cell(name: str, rho: float) -> str:
    """A row's name; rho: of the grid."""
    return f"{name}, ρ {rho * STRETCH[name]:g}"


def rows() -> dict[str, Method]:
    """SGD, and each geometry at each radius, in the order of the grid."""
    metrics = {SAM: Euclidean(), MONGE: Monge(), ASAM: ParameterScaled(0.01)}
    grid = {cell(n, r): Method(m, rho=r * STRETCH[n]) for n, m in metrics.items() for r in GRID}
    return {SGD: Method(), **grid}


def digits() -> Protocol:
    """Minutes on one core: 600 digits, batches of 100."""
    return Protocol(
        source="an alignment in small of Jacobsen & Arvanitidis 2025 (Monge SAM), whose own is of CLIP; the grid is ours",
        data=Source("digits", batch=100, train=600),
        model="two_tower",
        methods=rows(),
        epochs=15,
        optimizer=Sgd(lr=0.1, weight_decay=5e-4),
        seeds=3,
        rule=Rule(score="accuracy", against=SGD),
        loss=contrastive,
        score=by_retrieval,
    )


def mnist() -> Protocol:
    """The same on MNIST, whole."""
    return replace(digits(), data=Source("mnist", batch=100), epochs=10, seeds=3)


PRESETS: dict[str, Callable[[], Protocol]] = {"digits": digits, "mnist": mnist}
