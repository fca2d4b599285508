"""Curves of training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from geosam.ablation.report import QUIET

from .methods import REFERENCE
from .rows import PLAIN_NUMBERS, percent
from .style import SAM, colour
from .summary import Summary


def spent_in_training(s: Summary) -> Figure:
    """KL of ε* over the target, epoch by epoch; a panel a geometry."""
    start = pd.DataFrame({"method": m, "seed": seed, "epoch": s.config.training.warmup, "spent": 1.0} for m, seed in _pairs(s))
    figure, panels = _panels(s, s.sams, pd.concat([s.epochs, start]), "spent", columns=2)
    for axes in panels:
        axes.axhline(1, color=QUIET, lw=0.7)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(PLAIN_NUMBERS)
        axes.yaxis.set_minor_formatter(NullFormatter())
    figure.supylabel("KL of ε* / target")
    return figure


def accuracy_in_training(s: Summary) -> Figure:
    """Test accuracy, epoch by epoch; a panel a method."""
    figure, panels = _panels(s, s.methods, s.epochs, "test_accuracy", columns=3)
    for axes in panels:
        percent(axes.yaxis)
        axes.set_ylim(bottom=max(0.0, s.epochs["test_accuracy"].quantile(0.04) - 0.02))
    figure.supylabel("test accuracy")
    return figure


def _pairs(s: Summary) -> list[tuple[str, int]]:
    runs = s.runs[s.runs["method"].isin(s.sams)]
    return list(zip(runs["method"], runs["seed"], strict=True))


def _panels(s: Summary, names: Sequence[str], table: pd.DataFrame, column: str, columns: int) -> tuple[Figure, list[Axes]]:
    """Lines by epoch, one a seed; dashed, for comparison, the mean of Euclidean SAM's."""
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(6.4, 1.25 * rows + 0.5))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    curves = table.assign(**{column: pd.to_numeric(table[column])}).pivot_table(
        index="epoch", columns=["method", "seed"], values=column
    )
    same = s.same_as_sam()
    for axes, name in zip(grid, names, strict=False):
        if REFERENCE in s.sams and name != REFERENCE:
            axes.plot(curves[REFERENCE].mean(axis=1), color=SAM, lw=0.9, ls=(0, (3, 2)))
        axes.plot(curves[name], color=colour(name, same, s.sams), lw=1.1, alpha=0.75)
        axes.set_title(name, fontweight="normal")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for i, axes in enumerate(grid):
        axes.set_visible(i < len(names))
        axes.tick_params(labelbottom=i >= len(names) - columns)
    figure.supxlabel("epoch")
    return figure, list(grid[: len(names)])
