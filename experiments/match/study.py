"""All jobs, and what their records say: a line a geometry and KL, of which the documentation shows the same table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from geosam.ablation.report import Page, Picture, Table
from geosam.records import Finished

from ..common.study import Part
from .run import AFTER, BEFORE, GEOMETRIES, Found, Run, train

KLS = (0.3, 0.1, 0.01)
WORDS = (
    f"Length of ε* and accuracy at a radius calibrated once, at epoch 0 here, after {BEFORE} epochs of SGD. Lines are seeds."
)
HEAD = ["KL at the match", "geometry", "‖ε*‖₂ at the match", f"after {AFTER} epochs", "KL then", "accuracy then, points"]


@dataclass(frozen=True)
class Matched:
    """Every geometry at every KL from every seed."""

    seeds: int

    def parts(self) -> list[Part[Found]]:
        """A job a run."""
        runs = [Run(name, kl, seed) for kl in KLS for name in GEOMETRIES for seed in range(self.seeds)]
        return [Part(runs, train, Found)]

    def page(self, finished: Finished) -> Page:
        """The curves and the table."""
        found = [(run, record.result) for run, record in finished.of(Run)]
        return Page(
            "A radius that was matched once",
            "Geometries that spend the same KL at one point need not go on doing so, nor be of use: the digits.",
            Picture("overview", WORDS, partial(curves, found), partial(curves, found, True)),
            table(found),
        )


def table(found: Sequence[tuple[Run, Found]]) -> Table:
    """Medians over seeds of length and KL, mean and deviation of accuracy."""
    rows = []
    for kl in KLS:
        for name in GEOMETRIES:
            those = [result for run, result in found if (run.geometry, run.kl) == (name, kl)]
            if those:
                lengths = [f"{statistics.median(r.length[epoch] for r in those):.2g}" for epoch in (0, -1)]
                points, last = [100 * r.accuracy[-1] for r in those], statistics.median(r.kl[-1] for r in those)
                spread = f" ± {statistics.stdev(points):.1f}" if len(points) > 1 else ""
                rows.append([f"{kl:g}", name, *lengths, f"{last:.2g}", f"{statistics.fmean(points):.1f}{spread}"])
    return Table("Median length and KL, mean accuracy and its deviation over seeds.", HEAD, rows)


def curves(found: Sequence[tuple[Run, Found]], narrow: bool = False) -> Figure:
    """A column a KL (narrow: a row), length above accuracy; a colour a geometry, a line a seed."""
    shape = (2 * len(KLS), 1) if narrow else (2, len(KLS))
    figure = Figure(figsize=(3.6, 2.2 * shape[0]) if narrow else (3.1 * shape[1], 4.6))
    axes = figure.subplots(*shape, squeeze=False, sharex=True)
    for column, kl in enumerate(KLS):
        length, accuracy = axes[2 * column : 2 * column + 2, 0] if narrow else axes[:, column]
        for colour, name in enumerate(GEOMETRIES):
            for run, result in found:
                if (run.geometry, run.kl) == (name, kl):
                    label = name if run.seed == 0 and column == 0 else None
                    length.semilogy(result.length, color=f"C{colour}", lw=1.2, label=label)
                    accuracy.plot([100 * a for a in result.accuracy], color=f"C{colour}", lw=1.2)
        length.set(title=f"KL {kl:g} at the match", ylabel="‖ε*‖₂" if narrow or column == 0 else None)
        accuracy.set(ylim=(0, 100), ylabel="accuracy" if narrow or column == 0 else None)
    axes[-1, 0].set_xlabel("epoch")
    figure.legend(loc="outside upper center", ncols=1 if narrow else len(GEOMETRIES))
    return figure
