"""The figures of the report, each a function of the summary, and the one that shows the study in one picture."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from geosam.ablation.report import QUIET, RULE

from .rows import PLAIN_NUMBERS, dots, gaps, percent, ratios
from .summary import Summary


def overview(s: Summary) -> Figure:
    """The study in one picture: shared rows, four questions."""
    names = s.methods
    figure = Figure(figsize=(11.5, 0.34 * len(names) + 1.5))
    columns = figure.subplots(1, 4, sharey=True, width_ratios=(1.15, 1, 1, 1))
    gaps(columns[0], names, s)
    last = s.epochs[s.epochs["epoch"] == s.epochs["epoch"].max()].groupby("method")["spent"].apply(list).to_dict()
    dots(columns[1], names, last, s)
    columns[1].axvline(1, color=QUIET, lw=0.8)
    columns[1].set_xscale("log")
    columns[1].xaxis.set_major_formatter(PLAIN_NUMBERS)
    columns[1].xaxis.set_minor_formatter(NullFormatter())
    dots(columns[2], names, s.runs.groupby("method")["accuracy"].apply(list).to_dict(), s)
    percent(columns[2].xaxis)
    ratios(columns[3], names, s)
    titles = ("Is it SAM's direction?", "KL spent at the end", "Test accuracy", "Step time")
    labels = (
        "1 − cos with Euclidean SAM's ε*",
        f"KL of ε* / KL at epoch {s.config.training.warmup}",
        "points: seeds, bar: mean",
        "ratio to Euclidean SAM",
    )
    for axes, title, label in zip(columns, titles, labels, strict=True):
        axes.set_title(title, pad=16)
        axes.set_xlabel(label, color=QUIET)
        axes.spines["left"].set_visible(False)
        for row in range(len(names)):
            axes.axhline(row + 0.5, color=RULE, lw=0.4)
    return figure


def accuracy(s: Summary) -> Figure:
    """Test accuracy after the last epoch."""
    figure = Figure(figsize=(6.2, 0.32 * len(s.methods) + 0.9))
    axes = figure.subplots()
    dots(axes, s.methods, s.runs.groupby("method")["accuracy"].apply(list).to_dict(), s)
    percent(axes.xaxis)
    axes.set_xlabel(f"test accuracy, {s.runs['seed'].nunique()} seeds (points) and mean (bar)")
    return figure


def step_time(s: Summary) -> Figure:
    """Median step over the median Euclidean SAM step in the same process."""
    figure = Figure(figsize=(6.2, 0.32 * len(s.methods) + 0.9))
    axes = figure.subplots()
    ratios(axes, s.methods, s)
    axes.set_xlabel("step time / Euclidean SAM's step in the same run")
    return figure
