"""Every claim on the records of every preset that was run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from geosam.ablation import read
from geosam.ablation.outcomes import Outcomes
from geosam.ablation.report import Page, Section, Table
from geosam.ablation.statistics import Verdict
from geosam.records import fingerprint

from ..common.overview import Together
from ..common.runner import publish
from .ledger import CLAIMS, Claim

Row = tuple[Claim, str, Verdict, dict[str, Verdict]]


@dataclass(frozen=True)
class Claims:
    """records: a folder as ``runs``, study/preset/setting/records."""

    records: Path

    def rows(self) -> list[Row]:
        """(claim, size that was run, verdict, its parts), a row a claim and preset."""
        rows: list[Row] = []
        for claim in CLAIMS:
            runs = self._found(claim.study)
            for found in runs:
                rows.append((claim, size(found), *claim.decide(found)))
            if not runs:
                cure = f"no records in {self.records / claim.study}: run python -m experiments {claim.study}"
                rows.append((claim, "no run", Verdict(claim.says, "not decided", cure), {}))
        return rows

    def carry_out(self, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
        """Print the verdicts, and write a page of them; nothing is run."""
        for claim, run, verdict, parts in self.rows():
            console.print(f"{claim.id}  {verdict.outcome}, at {run}: {claim.says} ({verdict.why})")
            for part in parts.values():
                console.print(f"      {part}")
        written = self.found(self.records)
        if written is None:
            return out
        return publish(*written, out / fingerprint([record.key for record in written[1].records]), figure, console)

    def found(self, out: Path) -> tuple[Page, Together] | None:
        """The verdicts on the records in the folder, and these records."""
        found = {str(i): o for study in {c.study for c in CLAIMS} for i, o in _numbered(self._found(study), study)}
        rows = self.rows()
        parts = [Section(f"{row[0].id}: {row[2].outcome}", [row[0].says, _parts(row)]) for row in rows if row[3]]
        lead = "What the records decide, at the size that was run, by rules that were fixed before."
        return (Page("Claims", lead, table=_table(rows), sections=parts), Together(found)) if found else None

    def _found(self, study: str) -> list[dict[str, Outcomes]]:
        """By preset: setting ↦ outcomes."""
        presets = sorted(path for path in (self.records / study).glob("*") if path.is_dir())
        settings = [sorted(path.parent for path in preset.glob("*/records")) for preset in presets]
        return [{path.name: read(path).outcomes for path in paths} for paths in settings if paths]


def size(found: Mapping[str, Outcomes]) -> str:
    """What was trained, on how much, and how often."""
    outcomes = next(iter(found.values()))
    setting: dict[str, Any] = outcomes.records[0].config["setting"]
    model, data, tested = setting["model"]["model"], setting["data"], outcomes.records[0].result["test"]
    count = "all" if data["train"] is None else round(data["train"] * (1 - data["held_out"]))
    seeds = min(len(by_seed) for by_seed in outcomes.scores("accuracy").values())
    trained = f"{model} on {count} samples of {data['data']}, {setting['epochs']} epochs"
    return f"{trained}, {seeds} seeds a method, {tested['samples']} samples tested"


def _numbered(runs: list[dict[str, Outcomes]], study: str) -> list[tuple[str, Outcomes]]:
    return [(f"{study} {i}, {name}", outcomes) for i, found in enumerate(runs) for name, outcomes in found.items()]


def _table(rows: list[Row]) -> Table:
    cells = [[claim.id, claim.says, verdict.outcome, run, verdict.why] for claim, run, verdict, _ in rows]
    return Table("Verdicts.", ["claim", "says", "verdict", "at", "why"], cells)


def _parts(row: Row) -> Table:
    claim, _, _, parts = row
    cells = [[part.claim, part.outcome, part.why] for part in parts.values()]
    return Table(f"{claim.id}, {claim.says}: its parts.", ["comparison", "verdict", "why"], cells)
