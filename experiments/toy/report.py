"""The report: tables of the counts, the figures, and the settings that they were drawn with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from geosam.ablation.report import Table, provenance_table, write_page
from geosam.records import Finished, Provenance, describe, fingerprint, write_json
from theory.toy_ends import End, landscape
from theory.toy_loss import CAPTION

from .config import LOSSES, NAMES, Hunt
from .result import Found
from .style import ORDER, WORDS
from .summary import NO_RADIUS, Summary

TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_summary(path: Path, summary: Summary) -> None:
    """All counts, with the configuration that they belong to."""
    filed = {"key": fingerprint(summary.config), "config": describe(summary.config)}
    write_json(path, {**filed, "provenance": asdict(Provenance.here()), **summary.record()})


def write_report(path: Path, summary: Summary, finished: Finished, pictures: Mapping[str, Figure]) -> Path:
    """Render the template."""
    records = finished.records
    return write_page(
        path,
        TEMPLATE,
        pictures,
        raster=[name for name in pictures if name.startswith("map_")],
        s=summary,
        config=summary.config,
        minima=minima_table(),
        radius=radius_table(summary),
        most={
            "saddle": most(summary, End.SADDLE),
            "flat": most(summary, End.FLAT),
            "flat_or_side": most(summary, End.FLAT, End.FLAT_SIDE),
            "left": most(summary, End.LEFT),
        },
        ends=[ends_table(summary, *pair) for pair in summary.pairs()],
        duels=[duel_table(summary, rival) for rival in ("SAM", "ASAM")],
        parts=[parts_table(summary, loss, rival) for loss in LOSSES for rival in ("SAM", "ASAM")],
        captions={(job.figure, job.won): caption(job, found) for job, found in summary.found.items()},
        methods=NAMES,
        provenance=provenance_table(records),
        runs=len(records),
        seconds=sum(record.seconds for record in records),
    )


def minima_table() -> Table:
    """The critical points under both readings of eq. 15."""
    rows = []
    for name, (mu, sigma, value, trace) in CAPTION.items():
        rows.append([f"{name}, as printed", f"({mu}, {sigma})", str(value), str(trace)])
        for title, loss in LOSSES.items():
            point = getattr(landscape(loss), name)
            numbers = [f"({point[0]:.4f}, {point[1]:.4f})", f"{loss.look(point)[0]:.4f}"]
            rows.append([f"{name}, {title}", *numbers, f"{loss.hessian(point).trace():.6f}"])
    for title, loss in LOSSES.items():
        land = landscape(loss)
        trace = loss.hessian(land.saddle).trace()
        rows.append([f"saddle, {title}", f"({land.saddle[0]:.4f}, {land.saddle[1]:.4f})", f"{land.level:.4f}", f"{trace:.6f}"])
    return Table("Minima and saddle by Newton’s method.", ["point", "(μ, σ)", "l", "Hessian trace"], rows)


def ends_table(s: Summary, loss: str, design: str) -> Table:
    """Counts of every end by method."""
    table = s.ends(loss, design)
    rows = [
        [str(name), *(f"{row[column]:,}" for column in (*(end.name for end in ORDER), NO_RADIUS))]
        for name, row in table.iterrows()
    ]
    total = int(table.iloc[0].sum())
    note = f"{loss}, {design}: {total:,} settings; at {s.converged(loss, design):,} of them every method’s run settled."
    return Table(note, ["method", *(WORDS[end] for end in ORDER), NO_RADIUS], rows)


def radius_table(s: Summary) -> Table:
    """The shares of FSAM's ends by ρ, on the figure's loss with own radii."""
    rows = []
    for where, row in s.by_radius().iterrows():
        total = int(row.sum())
        rows.append([str(where), f"{total:,}", *(f"{row[end.name] / total:.1%}" if total else "–" for end in ORDER)])
    return Table("Where FSAM’s runs end, by ρ.", ["ρ of FSAM", "settings", *(WORDS[end] for end in ORDER)], rows)


def most(s: Summary, *kinds: End) -> str:
    """The range of ρ from which the largest share of FSAM's runs ends so, and that share."""
    table = s.by_radius()
    shares = (table[[end.name for end in kinds]].sum(axis=1) / table.sum(axis=1)).dropna()
    return f"{shares.max():.0%} at ρ {shares.idxmax()}"


HEAD = [
    "FSAM flat min., rival sharp min.",
    "the reverse",
    "FSAM flat side, rival sharp side",
    "the reverse",
    "part of the first, 95 %",
    "rival at sharp min.",
    "of these FSAM on flat side, 95 %",
]


def duel_table(s: Summary, rival: str) -> Table:
    """FSAM against one rival over all settings, and for ASAM over those of small |μ|."""
    table = s.duels()
    table = table[(table["rival"] == rival) & table["where"].isin(["all", "small |μ|"])]
    rows = [[f"{r['loss']}, {r['design']}, {r['where']}", *cells(r)] for _, r in table.iterrows()]
    return Table(f"FSAM against {rival}; intervals of Clopper and Pearson.", ["settings", *HEAD], rows)


def parts_table(s: Summary, loss: str, rival: str) -> Table:
    """The same by ranges of FSAM's ρ and of the start's σ."""
    table = s.duels()
    table = table[(table["rival"] == rival) & (table["loss"] == loss) & table["where"].str.match("ρ|σ")]
    rows = [[f"{r['where']}, {r['design']}", *cells(r)] for _, r in table.iterrows()]
    return Table(f"FSAM against {rival} on {loss} loss, by FSAM’s ρ and by σ of the start.", ["settings", *HEAD], rows)


def cells(row: pd.Series) -> list[str]:
    """The numbers of a duel."""
    counts = [f"{row[name]:,}" for name in ("wins", "losses", "crossed", "recrossed")]
    return [*counts, _share(row, "share", "low", "high"), f"{row['sharp']:,}", _share(row, "then", "then_low", "then_high")]


def _share(row: pd.Series, value: str, low: str, high: str) -> str:
    return "–" if pd.isna(row[value]) else f"{row[value]:.1%} ({row[low]:.1%} – {row[high]:.1%})"


def caption(job: Hunt, found: Found) -> str:
    """The setting of a row of figure 2 or 3, in words."""
    if not found.of:
        return "No setting of the grid ends so, under any protocol."
    (mu, sigma), where = found.start, "at its minimum" if found.strict else "at its minimum or on its side"
    steps = f"{found.depth} grid step{'s' if found.depth > 1 else ''}"
    return (
        f"Start ({mu:g}, {sigma:g}), lr {found.lr:g}, ρ = {found.rho:.3g} for FSAM and {found.rival_rho:.3g} for {job.rival} "
        f"({found.protocol}). Of {found.among:,} settings searched with this lr {found.of:,} end so, each method {where}; "
        f"this is the one deepest among them, {steps} from the next that does not or from the grid’s edge."
    )


def said(s: Summary) -> list[str]:
    """For a terminal."""
    table = s.duels()
    return [
        f"{row['loss']}, {row['design']}, FSAM : {row['rival']}  at the minima {row['wins']} : {row['losses']}, "
        f"on their sides {row['crossed']} : {row['recrossed']}"
        for _, row in table[table["where"] == "all"].iterrows()
    ]
