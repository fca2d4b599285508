"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from geosam.ablation.report import Table, provenance_table, write_page
from geosam.records import Finished, describe, spelled

from .methods import PUBLISHED, REFERENCE
from .summary import Summary

TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(path: Path, summary: Summary, finished: Finished, pictures: Mapping[str, Figure]) -> Path:
    """Render the template."""
    records = finished.records
    return write_page(
        path,
        TEMPLATE,
        pictures,
        config=summary.config,
        s=summary,
        published=PUBLISHED,
        reference=REFERENCE,
        gap=summary.published_gap(),
        parameters=records[0].result.parameters,
        accuracy=accuracy_table(summary),
        radii=radius_table(summary),
        geometries=geometry_table(summary),
        settings=settings_table(summary),
        provenance=provenance_table(records),
        seconds=sum(record.seconds for record in records),
        failed=finished.failed,
    )


def accuracy_table(s: Summary) -> Table:
    """Accuracies, their paired differences, and what they cost."""
    seeds = sorted(s.runs["seed"].unique())
    pivot = s.runs.pivot(index="method", columns="seed", values="accuracy")
    head = ["method", *(f"seed {seed}" for seed in seeds), "mean", "minus SAM, paired", "gradients", "step time"]
    rows = [
        [
            str(name),
            *(_text(pivot.loc[name, seed], "{:.1%}") for seed in seeds),
            _text(row["mean"], "{:.1%}"),
            "–" if name == REFERENCE else _text(100 * row.get("paired", math.nan), "{:+.1f}"),
            str(int(row["gradients"])),
            _text(row["ratio"], "{:.2f}"),
        ]
        for name, row in s.by_method().iterrows()
    ]
    return Table(
        "Test accuracy after the last epoch; difference in percentage points; step time as a ratio to Euclidean SAM.",
        head,
        rows,
    )


def radius_table(s: Summary) -> Table:
    """rho by method and seed."""
    runs = s.runs[s.runs["method"].isin(s.sams)]
    seeds = sorted(runs["seed"].unique())
    rows = []
    for name in s.sams:
        mine = runs[runs["method"] == name].set_index("seed")
        each = [rho for radii in mine["radii"] for rho in radii]
        rows.append([name, *(_text(mine["rho"].get(seed), "{:.4g}") for seed in seeds), f"{min(each):.3g} – {max(each):.3g}"])
    return Table(
        "Radius rho of each run, and its range over calibration batches.", ["geometry", *map(_seed, seeds), "range"], rows
    )


def geometry_table(s: Summary) -> Table:
    """Every geometry as it is written in Python."""
    named = {**s.config.snapshots.metrics, **{m.name: m.metric for m in s.config.methods if m.metric is not None}}
    rows = [[name, spelled(describe(metric))] for name, metric in named.items()]
    return Table("Geometries; one without a radius above was looked at in snapshots only.", ["name", "geometry"], rows)


def settings_table(s: Summary) -> Table:
    """The configuration that all runs share."""
    shared = {
        "seeds": s.config.seeds,
        **_fields(s.config.training),
        **{f"calibration {k}": v for k, v in _fields(s.config.calibration).items()},
    }
    return Table("Configuration.", ["setting", "value"], [[k.replace("_", " "), str(v)] for k, v in shared.items()])


def _fields(config: Any) -> dict[str, Any]:
    return {k: v for k, v in describe(config).items() if k != "type"}


def _seed(seed: int) -> str:
    return f"seed {seed}"


def _text(value: float | None, form: str) -> str:
    return "–" if value is None or pd.isna(value) else form.format(value)


def said(s: Summary) -> list[str]:
    """For a terminal."""
    lines = [
        f"{name:32s} {row['mean']:6.1%}  {row['low']:6.1%} – {row['high']:6.1%}   {row['ratio']:5.2f}× SAM's step"
        for name, row in s.by_method().iterrows()
    ]
    gap = s.published_gap()
    return lines if gap is None else [*lines, f"GradientMagnitude at η = 1 against SAM: 1 − cos = {gap:.1e} at most"]
