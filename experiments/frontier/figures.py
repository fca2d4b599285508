"""The figure: efficiency against cost, a panel a checkpoint."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from geosam.ablation.report import NARROW, PAPER, QUIET, RULE

from .labels import name_points
from .methods import KINDS
from .summary import Summary, directions, frontier

# Okabe and Ito's colours, darkened where a name would be too pale; a mark of its own for who sees none of them
COLOURS = dict(zip(KINDS, ("#5b6370", "#b36b00", "#00795a", "#0072b2", "#c1440e"), strict=True))
MARKS = dict(zip(KINDS, ("o", "v", "s", "D", "P"), strict=True))
TITLES = {
    "cnn": "CNN",
    "mlp": "MLP",
    "resnet20": "ResNet-20",
    "resnet20_narrow": "narrow ResNet-20",
    "vit_small": "ViT",
    "vit_tiny": "small ViT",
}


def draw(s: Summary, narrow: bool = False) -> Figure:
    """A panel a network, KL and checkpoint. Filled: at the shared damping; hollow: at the best one tried.

    narrow: the last checkpoint alone, panels below each other.
    """
    epochs = s.config.looks.epochs[-1:] if narrow else s.config.looks.epochs
    places = [(network, kl, epoch) for network in s.networks for kl in s.config.looks.kls for epoch in epochs]
    rows, columns = len(places) // len(epochs), len(epochs)
    figure = Figure(figsize=(NARROW, 3.6 * rows + 0.9) if narrow else (2.85 * columns + 0.5, 3.0 * rows + 0.6))
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    tables = [directions(s, network, epoch, kl) for network, kl, epoch in places]
    for axes, (network, kl, epoch), table in zip(grid.flat, places, tables, strict=True):
        _panel(axes, s, table)
        axes.set_title(_title(s, network, kl, epoch), fontsize=8.5, fontweight="normal")
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("efficiency")
    _axes(grid[0, 0], tables)
    figure.supxlabel("time of one perturbation over the Euclidean one’s")
    figure.legend(
        handles=[grid[0, 0].plot([], [], MARKS[k], color=COLOURS[k], ms=5, label=k)[0] for k in KINDS],
        loc="outside upper center", ncols=2 if narrow else len(KINDS), frameon=False,
    )  # fmt: skip
    canvas.draw()
    figure.set_layout_engine("none")  # names are placed in this layout's pixels
    labels, kinds = {m.name: m.label for m in s.config.methods}, {m.name: m.kind for m in s.config.methods}
    for axes, table in zip(grid.flat, tables, strict=True):
        where = list(zip(table["time"], table["efficiency"], strict=True))
        hollow = list(zip(table["time"], table["best"], strict=True))
        name_points(axes, [labels[n] for n in table.index], where, [COLOURS[kinds[n]] for n in table.index], avoid=hollow)
    return figure


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
            axes.plot(row["time"], row["best"], mark, mfc=PAPER, mec=colour, ms=3.5, mew=0.8)
        axes.plot(row["time"], row["efficiency"], mark, color=colour, ms=4.5)


def _axes(axes: Axes, tables: list[pd.DataFrame]) -> None:
    everything = pd.concat(tables)
    axes.set_xscale("log")
    axes.set_xlim(everything["time"].min() / 1.6, everything["time"].max() * 2.2)
    axes.set_ylim(min(0.0, everything["efficiency"].min()), max(1.12, 1.04 * everything[["efficiency", "best"]].max().max()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _title(s: Summary, network: str, kl: float, epoch: int) -> str:
    at = s.places[(s.places["network"] == network) & (s.places["epoch"] == epoch)]
    when = "initialisation" if epoch == 0 else f"epoch {epoch}"
    return (
        f"{TITLES[network]} at KL {kl:g}, {when}\nloss {at['loss'].median():.2f}, test accuracy {at['accuracy'].median():.0%}"
    )
