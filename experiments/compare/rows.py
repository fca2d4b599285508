"""Rows of points: a method or metric a row, a point a seed or snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from geosam.ablation.report import QUIET

from .methods import PUBLISHED, SGD
from .style import OTHER, SAM, colour
from .summary import SAME, Summary

FLOOR = 1e-12  # 1 − cos of the same direction is rounding: drawn here
PLAIN_NUMBERS = FuncFormatter(lambda value, _: f"{value:g}")


def dots(axes: Axes, names: Sequence[str], values: dict[str, Sequence[float]], s: Summary, mean: bool = True) -> None:
    """One row a name: a point a seed, and a bar at the mean."""
    same = s.same_as_sam()
    for row, name in enumerate(names):
        points = [v for v in values.get(name, ()) if v is not None and np.isfinite(v)]
        shade = colour(name, same, [*s.sams, *s.metrics])
        face = "none" if name == SGD else shade
        axes.plot(points, np.full(len(points), row), "o", ms=5, mfc=face, mec=shade, mew=1.1, alpha=0.8)
        if mean and points:
            axes.plot([np.mean(points)] * 2, [row - 0.32, row + 0.32], "-", color=shade, lw=1.6)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)


def percent(axis: Axis) -> None:
    """At most six ticks, in whole per cents."""
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def gaps(axes: Axes, names: Sequence[str], s: Summary) -> None:
    """1 − cos with Euclidean SAM's ε* on a logarithmic axis, a point a snapshot."""
    table = s.gaps().assign(gap=lambda t: t["gap"].clip(lower=FLOOR))
    dots(axes, names, table.groupby("metric")["gap"].apply(list).to_dict(), s, mean=False)
    axes.set_xscale("log")
    axes.set_xlim(FLOOR / 4, 3)
    ticks = [FLOOR, 1e-8, 1e-4, 1]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticks(ticks, ["rounding", "1e-8", "1e-4", "1"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvspan(FLOOR / 4, SAME, color=SAM, alpha=0.08, lw=0)
    above: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "bottom", "fontsize": 8}
    axes.text(FLOOR / 4, 1.01, "same direction as SAM", color=SAM, **above)
    axes.text(3, 1.01, "another", color=OTHER, ha="right", **above)
    mine = table[table["metric"] == PUBLISHED]["gap"]
    if not mine.empty and PUBLISHED in names:
        label = f"at most {mine.max():.1e}  "
        axes.text(mine.min() / 2, names.index(PUBLISHED), label, color=SAM, fontsize=8, va="center", ha="right")


def ratios(axes: Axes, names: Sequence[str], s: Summary) -> None:
    """Median step over the median Euclidean SAM step in the same process."""
    dots(axes, names, s.runs.groupby("method")["ratio"].apply(list).to_dict(), s)
    axes.axvline(1, color=QUIET, lw=0.8)
    axes.set_xlim(left=0)
