"""The figures of an ablation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .outcomes import Outcomes
from .report import QUIET
from .verdicts import judged

COLOURS = ("#2a6f97", "#d1495b", "#6a994e", "#8d6a9f", "#e09f3e", "#468faf", "#9aa1ad", "#bc6c25", "#386641", "#5f0f40")


def scores(outcomes: Outcomes) -> Figure:
    """Left the score, a point a seed; right the paired difference to the reference with its interval."""
    rule, by_method, verdicts = outcomes.rule, outcomes.scores(outcomes.rule.score), judged(outcomes)
    figure = Figure(figsize=(9, 0.36 * len(by_method) + 1.2))
    left, right = figure.subplots(1, 2, sharey=True)
    differences = outcomes.differences(rule)
    for row, name in enumerate(by_method):
        values = [v for v in by_method[name].values() if v is not None]
        colour = COLOURS[row % len(COLOURS)]
        left.plot(values, np.full(len(values), row), "o", ms=5, color=colour, alpha=0.6, mew=0)
        if values:
            left.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], "-", color=colour, lw=1.6)
        at = verdicts[name].interval if name in verdicts else None
        if at is not None:
            right.plot(differences[name], np.full(at.n, row), "o", ms=3, color=colour, alpha=0.4, mew=0)
            right.plot([at.low, at.high], [row, row], "-", color=colour, lw=2)
            right.plot([at.mean], [row], "o", color=colour, ms=6)
    right.axvline(0, color=QUIET, lw=0.8)
    if rule.margin is not None:
        right.axvspan(-rule.margin, rule.margin, color=QUIET, alpha=0.12, lw=0)
    left.set_yticks(range(len(by_method)), list(by_method))
    left.set_ylim(len(by_method) - 0.4, -0.6)
    left.set_xlabel(f"{rule.score} on the test data: seeds and mean")
    right.set_xlabel(f"minus {rule.against}, paired: mean and {100 * (1 - rule.level):g} % interval")
    for axes in (left, right):
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    return figure


def training(outcomes: Outcomes) -> Figure:
    """Training loss over gradients, a line a run."""
    figure = Figure(figsize=(6.4, 3.6))
    axes: Any = figure.subplots()
    shown: set[str] = set()
    for record in outcomes.records:
        name, rows = record.result["method"], record.result["epochs"]
        loss = [np.nan if row["loss"] is None else row["loss"] for row in rows]
        label = name if name not in shown else None
        shown.add(name)
        colour = COLOURS[outcomes.methods.index(name) % len(COLOURS)]
        axes.plot([row["passes"] for row in rows], loss, color=colour, lw=1.1, alpha=0.8, label=label)
    axes.set(xlabel="gradients", ylabel="training loss")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


DRAWN: dict[str, Callable[[Outcomes], Figure]] = {"score": scores, "training": training}
