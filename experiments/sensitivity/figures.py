"""Figure 5 as a heat map, and what explains it."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geosam.ablation import Results
from geosam.ablation.report import INK, Picture

WORDS = (
    "Left: test accuracy in points, mean over seeds; the last row is Euclidean SAM at the same γ. Right: 1 − cos between ε* "
    "and SAM's, the largest of any epoch and seed. Where it is small, a column of the left map is one method run again."
)
NAME = re.compile(r"γ (\S+), (?:η (\S+)|SAM)")

Map = dict[tuple[float, float], float]
"""(γ, η) ↦ a number; η = 0 is SAM."""


def place(name: str) -> tuple[float, float] | None:
    """(γ, η) of a method's name."""
    found = NAME.fullmatch(name)
    return (float(found[1]), float(found[2] or 0)) if found else None


def maps(results: Results) -> tuple[Map, Map]:
    """Mean accuracy in points, and the largest gap."""
    accuracy, gap = dict[tuple[float, float], list[float]](), dict[tuple[float, float], list[float]]()
    for record in results.records:
        at = place(record.result["method"])
        if at is not None and not record.result["diverged"]:
            accuracy.setdefault(at, []).append(100 * record.result["test"]["accuracy"])
            seen = [row["look"]["gap"] for row in record.result["epochs"] if "gap" in row.get("look", {})]
            gap.setdefault(at, []).extend(seen)
    return {at: statistics.fmean(v) for at, v in accuracy.items()}, {at: max(v) for at, v in gap.items() if v}


def draw(found: Mapping[str, Results]) -> list[Picture]:
    """The two maps."""
    (results,) = found.values()
    return [Picture("sensitivity", WORDS, partial(_figure, results))]


def _figure(results: Results) -> Figure:
    accuracy, gap = maps(results)
    figure = Figure(figsize=(7.6, 3.6))
    left, right = figure.subplots(1, 2)
    _heat(left, accuracy, "test accuracy, points", "{:.1f}", "viridis")
    _heat(right, {at: math.log10(max(v, 1e-12)) for at, v in gap.items()}, "1 − cos to SAM, power of ten", "{:.1f}", "Blues")
    return figure


def _heat(axes: Axes, cells: Map, title: str, form: str, colours: str) -> None:
    gammas = sorted({g for g, _ in cells})
    etas = sorted({e for _, e in cells}, reverse=True)
    table = [[cells.get((g, e), math.nan) for g in gammas] for e in etas]
    image = axes.imshow(table, cmap=colours, aspect="auto")
    for row, eta in enumerate(etas):
        for column, gamma in enumerate(gammas):
            if (gamma, eta) in cells:
                value = cells[gamma, eta]
                colour = "white" if image.to_rgba(np.array([value]))[0, :3].sum() < 1.5 else INK
                axes.text(column, row, form.format(value), ha="center", va="center", color=colour, fontsize=7.5)
    axes.set_xticks(range(len(gammas)), [f"{g:g}" for g in gammas])
    axes.set_yticks(range(len(etas)), [f"{e:g}" if e else "SAM" for e in etas])
    axes.set(xlabel="γ", ylabel="η")
    axes.set_title(title)
    axes.tick_params(length=0)
