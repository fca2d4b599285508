"""The picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from matplotlib.figure import Figure

from geosam.ablation import Results
from geosam.ablation.report import QUIET, Picture

from ..common.curves import lines, looked

WORDS = (
    "ḡ² against (1/n) Σ gᵢ² along the training of each method: cosine of the diagonals and of the two ε*, ratio of the totals, "
    "and of εᵀFε at equal radius. The grey line is 1, where one stands in for the other."
)
PANELS = {
    "direction": "cosine of the diagonals",
    "epsilon": "cosine of the two ε*",
    "scale": "total / total",
    "fisher": "εᵀFε / εᵀFε",
}


def draw(found: Mapping[str, Results]) -> list[Picture]:
    """A panel a number."""
    (results,) = found.values()
    return [Picture("magnitude", WORDS, partial(_figure, results))]


def _figure(results: Results) -> Figure:
    figure = Figure(figsize=(7.6, 5.2))
    for axes, (key, label) in zip(figure.subplots(2, 2, sharex=True).ravel(), PANELS.items(), strict=True):
        handles = lines(axes, looked(results, key))
        axes.axhline(1, color=QUIET, lw=0.7)
        axes.set(ylabel=label)
        if key in ("scale", "fisher"):
            axes.set_yscale("log")
    figure.supxlabel("epoch")
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure
