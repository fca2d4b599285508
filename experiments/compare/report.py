"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from ..describe import describe
from ..provenance import commit
from ..store import Record, write
from .methods import PUBLISHED, REFERENCE
from .result import Outcome
from .style import styled
from .summary import Summary

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of each row is its header. note: below the table."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def png(figure: Figure, path: Path) -> None:
    """Save a figure for use elsewhere."""
    write(path, _rendered(figure, "png"))


def write_report(
    path: Path, summary: Summary, records: Sequence[Record[Outcome]], pictures: Mapping[str, Figure], failed: Sequence[str]
) -> Path:
    """Render the template."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(
        study=summary.study,
        s=summary,
        published=PUBLISHED,
        reference=REFERENCE,
        gap=summary.published_gap(),
        parameters=records[0].result.parameters,
        images={name: _uri(picture) for name, picture in pictures.items()},
        accuracy=accuracy_table(summary),
        radii=radius_table(summary),
        geometries=geometry_table(summary),
        settings=settings_table(summary),
        provenance=provenance_table(records),
        seconds=sum(record.seconds for record in records),
        failed=failed,
    )
    write(path, text.encode())
    return path


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
    named = s.study.snapshots.metrics | {m.name: m.metric for m in s.study.methods if m.metric is not None}
    rows = [[name, spelled(describe(metric))] for name, metric in named.items()]
    return Table("Geometries; one without a radius above was looked at in snapshots only.", ["name", "geometry"], rows)


def spelled(description: Any) -> str:
    """A description as an expression; how per-sample gradients are computed is left out."""
    if isinstance(description, dict):
        fields = ", ".join(f"{k}={spelled(v)}" for k, v in description.items() if k not in ("type", "engine"))
        return f"{description['type'].rpartition('.')[2]}({fields})"
    if isinstance(description, list):
        return f"[{', '.join(map(spelled, description))}]"
    return str(description)


def settings_table(s: Summary) -> Table:
    """The configuration that all runs share."""
    shared = {
        "seeds": s.study.seeds,
        **_fields(s.study.training),
        **{f"calibration {k}": v for k, v in _fields(s.study.calibration).items()},
    }
    return Table("Configuration.", ["setting", "value"], [[k.replace("_", " "), str(v)] for k, v in shared.items()])


def provenance_table(records: Sequence[Record[Outcome]]) -> Table:
    """What the records say that they come from, and whether that is one place."""
    origins = [record.provenance for record in records]
    commits = sorted({o.commit or "no git checkout" for o in origins})
    rows = [
        ["commit of the records", ", ".join(commits) + (" – more than one" if len(commits) > 1 else "")],
        ["commit of this report", commit() or "no git checkout"],
        ["device", "; ".join(sorted({f"{o.device}, {o.threads} thread a run" for o in origins}))],
        *([name, ", ".join(sorted({o.versions[name] for o in origins}))] for name in origins[0].versions),
        ["finished", f"{min(o.finished for o in origins)} to {max(o.finished for o in origins)}"],
        ["record keys", " ".join(record.key for record in records)],
    ]
    return Table("Where the records come from.", ["what", "value"], rows)


def _fields(config: Any) -> dict[str, Any]:
    return {k: v for k, v in describe(config).items() if k != "type"}


def _seed(seed: int) -> str:
    return f"seed {seed}"


def _text(value: float | None, form: str) -> str:
    return "–" if value is None or pd.isna(value) else form.format(value)


def _rendered(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()


def _uri(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(_rendered(figure, "svg")).decode()
