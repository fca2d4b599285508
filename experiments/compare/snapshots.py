"""What the perturbations do at matched KL, in the snapshots along one run."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import PercentFormatter

from geosam.ablation.report import PAPER, QUIET

from .methods import REFERENCE
from .rows import PLAIN_NUMBERS, dots, gaps
from .style import EPOCHS
from .summary import Summary


def gap_to_sam(s: Summary) -> Figure:
    """1 − cos with Euclidean SAM on a logarithmic axis, a point a snapshot."""
    names = [name for name in s.metrics if name != REFERENCE]
    figure = Figure(figsize=(6.2, 0.32 * len(names) + 1.0))
    axes = figure.subplots()
    gaps(axes, names, s)
    axes.set_xlabel("1 − cos between ε* and Euclidean SAM's, a point a snapshot")
    return figure


def cosines(s: Summary) -> Figure:
    """Mean cosine between the perturbations."""
    n = len(s.metrics)
    figure = Figure(figsize=(0.36 * n + 2.2, 0.37 * n + 2.0))
    axes = figure.subplots()
    bar = figure.colorbar(_cells(axes, s), ax=axes, shrink=0.6, pad=0.02, label="cosine")
    bar.ax.spines["outline"].set_visible(False)
    axes.set_xticks(range(n), s.metrics, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), s.metrics)
    return figure


def cosines_by_number(s: Summary) -> Figure:
    """The same on a narrow screen: names below, by number."""
    n = len(s.metrics)
    figure = Figure(figsize=(3.4, 3.1 + 0.2 * n))
    axes, key = figure.subplots(2, 1, height_ratios=(2.9, 0.2 * n))
    _cells(axes, s)
    axes.set_xticks(range(n), range(1, n + 1))
    axes.set_yticks(range(n), range(1, n + 1))
    key.set_axis_off()
    key.text(0, 1, "\n".join(f"{i}  {name}" for i, name in enumerate(s.metrics, 1)), va="top", linespacing=1.45)
    return figure


def _cells(axes: Axes, s: Summary) -> AxesImage:
    table = s.angles.pivot_table(index="a", columns="b", values="cosine").loc[s.metrics, s.metrics]
    image = axes.imshow(table, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for i, j in np.ndindex(table.shape):
        value = table.iloc[i, j]
        axes.text(j, i, _cosine(value), ha="center", va="center", color="#f8f9fb" if value > 0.6 else "#20242e")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def efficiency(s: Summary) -> Figure:
    """Rise bought per nat."""
    return by_epoch(
        s,
        "efficiency",
        "efficiency  ⟨g, ε⟩ / (‖g‖* √(2 KL(ε)))",
        log=False,
    )


def budget(s: Summary) -> Figure:
    """What rho means in nats."""
    return by_epoch(s, "spent", "KL(ε) / (ρ²/2)", log=True)


def by_epoch(s: Summary, column: str, label: str, log: bool) -> Figure:
    """A column of the snapshots, a point a seed, coloured by epoch."""
    figure = Figure(figsize=(6.2, 0.32 * len(s.metrics) + 1.1))
    axes = figure.subplots()
    epochs = sorted(s.looks["epoch"].unique())
    shades = mpl.colormaps[EPOCHS](np.linspace(0.05, 0.85, len(epochs)))
    dots(axes, s.metrics, {}, s)
    for k, (epoch, shade) in enumerate(zip(epochs, shades, strict=True)):
        table = s.looks[s.looks["epoch"] == epoch]
        rows = table["metric"].map(s.metrics.index) + 0.13 * (k - (len(epochs) - 1) / 2)
        values = pd.to_numeric(table[column])
        axes.plot(values, rows, "o", ms=4, color=shade, alpha=0.85, label=f"epoch {epoch}", mew=0)
    axes.axvline(1, color=QUIET, lw=0.8)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=len(epochs), frameon=False)
    return figure


def layers(s: Summary) -> Figure:
    """The part of ‖ε‖₂² in each layer, mean over the snapshots."""
    shares = pd.DataFrame([{"metric": row["metric"], **row["share"]} for _, row in s.looks.iterrows()])
    table = shares.groupby("metric").mean().loc[s.metrics]
    table = table.assign(norms=table[[c for c in table if c.startswith("norm")]].sum(axis=1))
    table = table[[c for c in table if not c.startswith("norm") or c == "norms"]]
    figure = Figure(figsize=(6.2, 0.32 * len(table) + 1.1))
    axes = figure.subplots()
    dots(axes, s.metrics, {}, s)
    axes.grid(visible=False)
    left = np.zeros(len(table))
    for name, shade in zip(table, mpl.colormaps["YlGnBu"](np.linspace(0.85, 0.12, table.shape[1])), strict=True):
        axes.barh(range(len(table)), table[name], left=left, height=0.66, color=shade, label=name, ec=PAPER, lw=0.5)
        left += table[name].to_numpy()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("part of ‖ε‖₂² in each layer")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=table.shape[1], frameon=False)
    return figure


def _cosine(value: float) -> str:
    if np.isnan(value):
        return ""
    return "1" if value > 1 - 1e-3 else f"{value:.2f}".replace("0.", ".")
