"""Figures of the page: where runs end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from geosam.ablation.report import PAPER
from theory.toy_ends import End, landscape

from .config import LOSSES, NAMES, OWN
from .style import COLOURS, ORDER, WORDS
from .summary import NO_RADIUS, Counts, Summary, digits

NONE: dict[str, Any] = {"fc": PAPER, "ec": COLOURS[End.UNSETTLED], "hatch": "////", "lw": 0.4}
PALETTE = ListedColormap([COLOURS[end] for end in End])


def by_radius(summary: Summary) -> Figure:
    """Where SAM, ASAM, FSAM and KL end, by ρ in the method's own metric, on the figure's loss."""
    table = summary.of("the figure's", OWN)
    edges = np.linspace(*summary.config.ranges.rho, 36)
    place = np.clip(np.digitize(table["rho"], edges) - 1, 0, len(edges) - 2)
    centres = (edges[1:] + edges[:-1]) / 2
    figure = Figure(figsize=(9.6, 2.5))
    for axes, name in zip(figure.subplots(1, 4, sharey=True), ("SAM", "ASAM", "FSAM", "KL"), strict=True):
        counts = np.zeros((len(End), len(centres)))
        np.add.at(counts, (table[name].to_numpy(), place), 1)
        parts = counts / np.maximum(counts.sum(0), 1)
        axes.stackplot(centres, parts[list(ORDER)], colors=[COLOURS[end] for end in ORDER], step="mid")
        axes.axvline(math.sqrt(2), color="white", ls="--", lw=1)
        axes.set(xlim=(centres[0], centres[-1]), ylim=(0, 1), xlabel="ρ", title=name)
    figure.axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    _key(figure)
    return figure


def shares(summary: Counts) -> Figure:
    """Stacked bars: where each method's runs end; a panel a loss and design."""
    pairs = summary.pairs()
    figure = Figure(figsize=(9.6, 1.75 * -(-len(pairs) // 2) + 0.5))
    grid = figure.subplots(-(-len(pairs) // 2), 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (loss, design) in zip(grid, pairs, strict=False):
        table = summary.ends(loss, design)
        table = table.div(table.sum(axis=1), axis=0)
        left = np.zeros(len(table))
        for end in ORDER:
            axes.barh(range(len(table)), table[end.name], left=left, height=0.7, color=COLOURS[end], ec=PAPER, lw=0.4)
            left += table[end.name].to_numpy()
        axes.barh(range(len(table)), table[NO_RADIUS], left=left, height=0.7, **NONE)
        axes.set_yticks(range(len(NAMES)), NAMES)
        axes.set(xlim=(0, 1), ylim=(len(NAMES) - 0.5, -0.5))
        axes.set_title(f"{loss}, {design}")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.tick_params(axis="y", length=0)
    _key(figure, Patch(**NONE, label=NO_RADIUS))
    return figure


def basins(summary: Summary, name: str) -> Figure:
    """Where one method ends from every start: columns ρ, rows lr."""
    config = summary.config
    figure = Figure(figsize=(9.6, 1.35 * len(config.lrs) + 1.0))
    grid = figure.subplots(len(config.lrs), len(config.rhos), sharex=True, sharey=True, squeeze=False)
    for job, result in summary.maps.items():
        axes = grid[config.lrs.index(job.lr), config.rhos.index(job.rho)]
        image = digits(result.ends[name]).reshape(job.rows, job.columns)
        extent = (*job.mu, *job.sigma)
        axes.imshow(
            image,
            cmap=PALETTE,
            vmin=-0.5,
            vmax=len(End) - 0.5,
            origin="lower",
            extent=extent,
            aspect="auto",
            interpolation="none",
        )
        axes.plot(*landscape(LOSSES[job.loss]).saddle, "x", ms=4, color="white", mew=1.2)
        axes.set_title(f"lr {job.lr:g}" + (f", ρ {job.rho:g}" if name != "GD" else ""), fontsize=8.5, fontweight="normal")
    figure.supxlabel("μ of the start")
    figure.supylabel("σ of the start")
    _key(figure)
    return figure


def _key(figure: Figure, *more: Patch) -> None:
    handles = [*(Patch(color=COLOURS[end], label=WORDS[end]) for end in ORDER), *more]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False)
