"""The picture of growth's record: time over the batch size, and over the parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from geosam.ablation.report import INK, QUIET

from .growth import NAMES

# Okabe and Ito's, which stay apart for colour-blind readers; the floor is grey.
COLOURS = dict(zip(NAMES, (QUIET, "#0072b2", "#c2560a"), strict=True))
WORDS = dict(zip(NAMES, ("Euclidean", "empirical Fisher", "its diagonal"), strict=True))
PLATE = {"fc": "white", "ec": "none", "pad": 1}


def growth(path: Path) -> Figure:
    """Of the record at this path."""
    (run,) = json.loads(path.read_text())["runs"].values()
    figure = Figure(figsize=(9.6, 3.8))
    left, right = figure.subplots(1, 2)
    peaks, lines = run["peak at the largest n"], run["in the parameters"]
    _sweep(left, run["over n"], "n", {name: f"{WORDS[name]}\npeak {peaks[name]['mb']:,.0f} MB" for name in NAMES})
    exponent = {name: rf"$\propto P^{{\,{lines[name]['larger half']:.2f}}}$" for name in NAMES}
    _sweep(right, run["over parameters"], "parameters", {name: f"{WORDS[name]}\n{exponent[name]}" for name in NAMES})
    _crossover(left, run["in n"][NAMES[1]]["crossover"])
    left.set(title="Time of a step over the batch size", xlabel="batch size n", ylabel="milliseconds")
    right.set(title="Time of a step over the parameters", xlabel="parameters P")
    rows = list(run["over n"].values())[-1]["rows_mb"]
    _note(left, f"MLP {run['settings']['over n']}; peaks at the largest n,\nwhere all per-sample gradients are {rows:,.0f} MB")
    _note(right, f"MLP {run['settings']['over parameters']};\nexponents of the larger half")
    return figure


def _note(axes: Axes, text: str) -> None:
    axes.text(0.02, 0.98, text, transform=axes.transAxes, va="top", fontsize=7.5, color=QUIET, bbox=PLATE)


def _sweep(axes: Axes, rows: dict[str, dict[str, float]], key: str, words: dict[str, str]) -> None:
    """A line a metric, named at its right end, where names that would touch are moved apart."""
    x = [row[key] for row in rows.values()]
    lines = {name: [row[f"{name}_ms"] for row in rows.values()] for name in NAMES}
    for name, times in lines.items():
        axes.plot(x, times, "o-", ms=3.5, lw=1.4, color=COLOURS[name])
    axes.set(xscale="log", yscale="log", xlim=(x[0] / 1.15, x[-1] * 1.15))
    low, high = min(map(min, lines.values())), max(map(max, lines.values()))
    axes.set_ylim(low / 1.4, high * (high / low) ** 0.35)
    axes.xaxis.set_major_locator(FixedLocator(x))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="y")
    for name, place in _apart({name: times[-1] for name, times in lines.items()}, axes).items():
        axes.annotate(
            words[name], (x[-1], place), (7, 0), textcoords="offset points", va="center", fontsize=8, color=COLOURS[name]
        )


def _apart(ends: dict[str, float], axes: Axes) -> dict[str, float]:
    """The ends in their order, each a ninth of the axis over the one below at least."""
    low, high = np.log(axes.get_ylim())
    placed: dict[str, float] = {}
    floor = -np.inf
    for name, value in sorted(ends.items(), key=lambda end: end[1]):
        floor = max(np.log(value), floor)
        placed[name] = float(np.exp(floor))
        floor += (high - low) / 9
    return placed


def _crossover(axes: Axes, star: float | None) -> None:
    low, high = axes.get_xlim()
    if star is None or not low < star < high:
        return
    axes.axvline(star, ymax=0.62, color=QUIET, lw=0.8, ls=(0, (2, 2)), zorder=0)
    text = f"n* = {star:,.0f}: above it n² leads in\na step of the empirical Fisher"
    axes.annotate(
        text, (star, axes.get_ylim()[0] * 1.25), (4, 0), textcoords="offset points", fontsize=7.5, color=INK, bbox=PLATE
    )


def _short(value: float, _: Any = None) -> str:
    return f"{value:,.0f}" if value < 1e4 else f"{value / 1e6:.2g} M"
