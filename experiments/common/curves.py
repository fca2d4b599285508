"""Numbers along training, or along a strength: a line a method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from geosam.ablation import Results

from .methods import ASAM, FSAM, FULL, SAM, SGD

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""By name, points (x, y) from left to right."""

# Okabe and Ito's, darkened as in ``frontier``; what has no colour of its own is grey and has a dash of its own
COLOURS = {SGD: "#5b6370", SAM: "#0072b2", ASAM: "#00795a", FSAM: "#c1440e", FULL: "#b36b00"}
DASHES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 2)))


def looked(results: Results, key: str) -> dict[str, list[tuple[float, float]]]:
    """By method, geometric means over seeds of what was looked at after each epoch under this key."""
    values: dict[str, dict[int, list[float]]] = {}
    for record in results.records:
        for epoch, row in enumerate(record.result["epochs"], start=1):
            value = row.get("look", {}).get(key)
            if value is not None:
                values.setdefault(record.result["method"], {}).setdefault(epoch, []).append(value)
    return {name: [(epoch, _mean(many)) for epoch, many in sorted(by_epoch.items())] for name, by_epoch in values.items()}


def lines(axes: Axes, curves: Curves) -> list[Any]:
    """Draw them; the handles for a legend."""
    others = [name for name in curves if name not in COLOURS]
    handles = []
    for name, points in curves.items():
        dash = DASHES[others.index(name) % len(DASHES)] if name in others else "-"
        x, y = zip(*points, strict=True)
        handles += axes.plot(x, y, ls=dash, color=COLOURS.get(name, "#5b6370"), lw=1.4, label=name)
    axes.grid(axis="y")
    return handles


def _mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(max(v, 1e-30)) for v in values) / len(values))
