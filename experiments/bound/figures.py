"""The picture: losses and bounds on one axis."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from geosam.ablation.report import INK

from .summary import Summary


def draw(summary: Summary) -> Figure:
    """A row a model and method; beyond 1 a bound says nothing of a zero-one loss."""
    found = summary.groups
    figure = Figure(figsize=(6.9, 0.5 * len(found) + 1.5))
    axes = figure.subplots()
    marks = (
        ("E test under noise", lambda o: o.average, "o", "#2a6f97"),
        ("worst training loss found", lambda o: o.worst, "s", INK),
        ("+ Fisher SAM's theorem, least", lambda o: o.worst + o.floor, "<", "#d1495b"),
        ("+ Fisher SAM's theorem, proved", lambda o: o.worst + o.proved, ">", "#d1495b"),
        ("+ SAM's theorem", lambda o: math.nan if o.sam is None else o.worst + o.sam, "D", "#e09f3e"),
    )
    for label, value, mark, colour in marks:
        points = [(value(o), row) for row, outcomes in enumerate(found.values()) for o in outcomes]
        xs, ys = zip(*[(x, y) for x, y in points if not math.isnan(x)] or [(math.nan, 0)], strict=True)
        axes.plot(xs, ys, mark, color=colour, label=label, ms=5, mfc="none", mew=1.3)
    axes.set_xscale("log")
    right = axes.get_xlim()[1]
    axes.axvspan(1, 1.1 * right, color="#d1495b", alpha=0.1, lw=0)
    axes.set_xlim(right=1.1 * right)
    axes.text(1.03, -0.62, "vacuous", color="#d1495b", va="center")
    axes.set_yticks(range(len(found)), [f"{model}, {method}" for model, method in found])
    axes.set_ylim(len(found) - 0.5, -0.9)
    axes.set_xlabel("zero-one loss, and its bounds")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure
