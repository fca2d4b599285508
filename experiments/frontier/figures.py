"""The figure: efficiency against cost, a panel a checkpoint."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from geosam.ablation.report import QUIET, RULE

from .labels import name_points
from .methods import KINDS
from .summary import Summary, directions, frontier

# Okabe and Ito's colours, darkened where a name would be too pale; a mark of its own for who sees none of them
COLOURS = dict(zip(KINDS, ("#5b6370", "#b36b00", "#00795a", "#0072b2", "#c1440e"), strict=True))
MARKS = dict(zip(KINDS, ("o", "v", "s", "D", "P"), strict=True))
TITLES = {"cnn": "CNN", "mlp": "MLP"}


def draw(s: Summary) -> dict[str, Figure]:
    """Rows: a network at a KL. Columns: checkpoints. Filled: at the shared damping; hollow: at the best one tried."""
    epochs, kls = s.config.looks.epochs, s.config.looks.kls
    rows = [(network, kl) for network in s.networks for kl in kls]
    figure = Figure(figsize=(3.15 * len(epochs) + 0.5, 2.75 * len(rows) + 0.6))
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), len(epochs), sharex=True, sharey=True, squeeze=False)
    tables = [[directions(s, network, epoch, kl) for epoch in epochs] for network, kl in rows]
    for panels, (network, kl), points in zip(grid, rows, tables, strict=True):
        for axes, epoch, table in zip(panels, epochs, points, strict=True):
            _panel(axes, s, table)
            axes.set_title(_title(s, network, epoch), fontsize=8, fontweight="normal")
        panels[0].set_ylabel(f"{TITLES[network]}: efficiency at KL {kl:g}", fontsize=8)
    _axes(grid[0, 0], tables)
    figure.supxlabel("time of one perturbation, over the Euclidean one's (process time, one thread)", fontsize=9)
    figure.legend(
        handles=[grid[0, 0].plot([], [], MARKS[k], color=COLOURS[k], ms=5, label=k)[0] for k in KINDS],
        loc="outside upper center", ncols=len(KINDS), frameon=False, fontsize=8,
    )  # fmt: skip
    canvas.draw()
    figure.set_layout_engine("none")  # names are placed in this layout's pixels
    labels, kinds = {m.name: m.label for m in s.config.methods}, {m.name: m.kind for m in s.config.methods}
    for panels, points in zip(grid, tables, strict=True):
        for axes, table in zip(panels, points, strict=True):
            where = list(zip(table["time"], table["efficiency"], strict=True))
            hollow = list(zip(table["time"], table["best"], strict=True))
            name_points(axes, [labels[n] for n in table.index], where, [COLOURS[kinds[n]] for n in table.index], avoid=hollow)
    return {"frontier": figure}


def _panel(axes: Axes, s: Summary, points: pd.DataFrame) -> None:
    axes.axhline(1, color=QUIET, lw=0.7)
    axes.grid(axis="y", color=RULE)
    edge = frontier(points)
    axes.step(edge["time"], edge["efficiency"], where="post", color=QUIET, lw=2.5, alpha=0.25, zorder=0)
    kinds = {m.name: m.kind for m in s.config.methods}
    for name, row in points.iterrows():
        colour, mark = COLOURS[kinds[name]], MARKS[kinds[name]]
        if row["best"] > row["efficiency"]:
            axes.plot([row["time"]] * 2, [row["efficiency"], row["best"]], color=colour, lw=0.8, alpha=0.7)
            axes.plot(row["time"], row["best"], mark, mfc="white", mec=colour, ms=3.5, mew=0.8)
        axes.plot(row["time"], row["efficiency"], mark, color=colour, ms=4.5)


def _axes(axes: Axes, tables: list[list[pd.DataFrame]]) -> None:
    everything = pd.concat([table for row in tables for table in row])
    axes.set_xscale("log")
    axes.set_xlim(everything["time"].min() / 1.6, everything["time"].max() * 2.2)
    axes.set_ylim(min(0.0, everything["efficiency"].min()), max(1.12, 1.04 * everything[["efficiency", "best"]].max().max()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _title(s: Summary, network: str, epoch: int) -> str:
    at = s.places[(s.places["network"] == network) & (s.places["epoch"] == epoch)]
    when = "at initialisation" if epoch == 0 else f"after {epoch} epoch{'s' if epoch > 1 else ''}"
    return f"{when}: training loss {at['loss'].median():.2f}, test {at['accuracy'].median():.0%}"
