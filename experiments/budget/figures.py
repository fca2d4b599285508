"""The picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from matplotlib.figure import Figure

from geosam.ablation import Results
from geosam.ablation.report import QUIET, Picture

from ..common.curves import lines, looked

WORDS = (
    "KL of ε* at the fixed radius: left in nats, right over ρ²/2, what a ball of radius ρ in the Fisher norm would allow. "
    "Geometric means over seeds; a level line spends the same all along."
)


def draw(found: Mapping[str, Results]) -> list[Picture]:
    """KL and KL/(ρ²/2) over epochs, a line a method."""
    (results,) = found.values()
    return [Picture("budget", WORDS, partial(_figure, results))]


def _figure(results: Results) -> Figure:
    figure = Figure(figsize=(7.6, 3.4))
    axes = figure.subplots(1, 2)
    for panel, key, label in zip(axes, ("kl", "spent"), ("KL, nats", "KL / (ρ²/2)"), strict=True):
        handles = lines(panel, looked(results, key))
        panel.set(xlabel="epoch", ylabel=label, yscale="log")
    axes[1].axhline(1, color=QUIET, lw=0.7)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure
