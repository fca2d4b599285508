"""Figure 4, a panel a direction."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from geosam.ablation import Results
from geosam.ablation.report import Picture

from ..common.curves import lines

WORDS = (
    "Test accuracy after the weights are moved by a vector of Euclidean length α, mean over seeds: along ♯g of a geometry "
    "(adversarial), or drawn from N(0, G⁻¹) (Gaussian). Top left is figure 4 of the paper."
)
NAME = re.compile(r"(.*), α (\S+)")

Panels = dict[str, dict[str, list[tuple[float, float]]]]


def panels(results: Results) -> Panels:
    """Direction ↦ method ↦ (α, accuracy in points)."""
    values: dict[str, dict[str, dict[float, list[float]]]] = {}
    for record in results.records:
        for key, value in record.result["test"].items():
            found = NAME.fullmatch(key)
            if found and not record.result["diverged"]:
                by_method = values.setdefault(found[1], {})
                by_method.setdefault(record.result["method"], {}).setdefault(float(found[2]), []).append(100 * value)
    return {
        direction: {name: [(a, statistics.fmean(v)) for a, v in sorted(at.items())] for name, at in by_method.items()}
        for direction, by_method in values.items()
    }


def draw(found: Mapping[str, Results]) -> list[Picture]:
    """A row a kind of direction, a column a geometry."""
    (results,) = found.values()
    return [Picture("perturb", WORDS, partial(_figure, results))]


def _figure(results: Results) -> Figure:
    drawn = panels(results)
    kinds = list(dict.fromkeys(name.partition(", ")[0] for name in drawn))
    geometries = list(dict.fromkeys(name.partition(", ")[2] for name in drawn))
    figure = Figure(figsize=(1.75 * len(geometries) + 0.4, 2.1 * len(kinds) + 0.9))
    grid = figure.subplots(len(kinds), len(geometries), sharex=True, sharey=True, squeeze=False)
    handles = list[Any]()
    for row, kind in zip(grid, kinds, strict=True):
        for axes, geometry in zip(row, geometries, strict=True):
            curves = drawn.get(f"{kind}, {geometry}")
            axes.set_visible(curves is not None)
            handles = lines(axes, curves) if curves else handles
            axes.set_title(f"{kind},\n{geometry}")
            axes.set_xscale("log")
    figure.supxlabel("α")
    figure.supylabel("test accuracy, points")
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure
