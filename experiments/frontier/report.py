"""The report: one HTML file with the figure, the table, and what they do not decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from geosam.ablation.report import Table, provenance_table, write_page
from geosam.records import Finished, describe, spelled

from .figures import TITLES
from .methods import EXACT, FLOOR, REFERENCE, SHARED
from .summary import Summary, directions, frontier

TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(path: Path, s: Summary, finished: Finished, pictures: Mapping[str, Figure]) -> Path:
    """Render the template."""
    records = finished.records
    parameters = {record.result.network: record.result.parameters for record in records}
    return write_page(
        path,
        TEMPLATE,
        pictures,
        s=s,
        config=s.config,
        table=table(s),
        geometries=geometries(s),
        edges=edges(s),
        reach=reach(s),
        exact=spelled(describe(EXACT)),
        ratio=SHARED.ratio,
        titles=TITLES,
        parameters=parameters,
        provenance=provenance_table(records),
        seconds=sum(record.seconds for record in records),
        failed=finished.failed,
    )


def table(s: Summary) -> Table:
    """A row a network and method."""
    epochs, kls = s.config.looks.epochs, s.config.looks.kls
    head = ["network, method"]
    head += [f"efficiency at {kl:g}, epoch {epoch}" for kl in kls for epoch in epochs]
    head += [f"best damping at {kls[-1]:g}, last", "cosine to exact", f"KL spent / budget, {kls[-1]:g}", "time", "MB"]
    rows = []
    for network in s.networks:
        at = {(kl, epoch): s.points(network, epoch, kl) for kl in kls for epoch in epochs}
        held = s.costs[s.costs["network"] == network].groupby("method")["bytes"].median()
        for name in at[kls[0], epochs[0]].index:
            each = [at[kls[-1], epoch].loc[name] for epoch in epochs]
            rows.append(
                [
                    f"{TITLES[network]}, {name}",
                    *(_text(at[kl, epoch].loc[name, "efficiency"]) for kl in kls for epoch in epochs),
                    _best(each[-1]),
                    _span([row["cosine"] for row in each], "{:.2f}"),
                    _span([row["spent"] for row in each], "{:.2g}"),
                    f"{each[0]['time']:.1f}",
                    f"{held[name] / 1e6:.1f}",
                ]
            )
    note = (
        "Medians over seeds and batches. Cosines, spent and time: lowest to highest, or median, over checkpoints. MB: the most "
        "that one perturbation holds at once, its forward and backward pass included."
    )
    return Table(note, head, rows)


def geometries(s: Summary) -> Table:
    """Every metric as it is written in Python."""
    rows = [[m.name, spelled(describe(m.metric))] for m in s.config.methods]
    return Table("What the names mean.", ["name", "metric"], rows)


def edges(s: Summary) -> list[str]:
    """At each network and KL, in words: who is not beaten at the same time or less, at the last checkpoint."""
    epoch, found = s.config.looks.epochs[-1], []
    for network in s.networks:
        for kl in s.config.looks.kls:
            edge = frontier(directions(s, network, epoch, kl))
            path = ", ".join(f"{name} ({row['efficiency']:.2f} at {row['time']:.1f}×)" for name, row in edge.iterrows())
            found.append(f"{TITLES[network]} after {epoch} epochs at KL = {kl:g}: {path}")
    return found


def reach(s: Summary) -> dict[str, tuple[float, float]]:
    """At each KL the least and the largest efficiency of the exact Fisher over networks and checkpoints; "local": as KL → 0."""
    mine = s.looks[(s.looks["method"] == REFERENCE) & (s.looks["shared"])]
    found = {"local": (float(mine["local"].min()), float(mine["local"].max()))}
    for kl in s.config.looks.kls:
        values = mine[mine["kl"] == kl]["efficiency"]
        found[f"{kl:g}"] = (float(values.min()), float(values.max()))
    return found


def said(s: Summary) -> list[str]:
    """For a terminal."""
    low, high = reach(s)["local"]
    return [
        f"exact Fisher as KL → 0: efficiency {low:.4f} to {high:.4f}",
        *edges(s),
        f"{FLOOR} against itself: {s.noise:.1%} in time",
    ]


def _text(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"


def _span(values: Sequence[float], form: str) -> str:
    known = [value for value in values if not pd.isna(value)]
    return f"{form.format(min(known))} – {form.format(max(known))}" if known else "–"


def _best(row: pd.Series) -> str:
    if pd.isna(row["best"]):
        return "–"
    return _text(row["best"]) + ("" if pd.isna(row["best_ratio"]) else f" (λ {row['best_ratio']:g})")
