"""Every claim on the records of every preset that was run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from geosam.ablation import read
from geosam.ablation.outcomes import Outcomes
from geosam.ablation.report import Page, Section, Table
from geosam.ablation.statistics import Verdict
from geosam.records import Store, fingerprint

from ..common.overview import Together
from ..common.runner import publish
from .claim import Claim
from .ledger import ledger

Row = tuple[Claim, str, Verdict, dict[str, Verdict]]


@dataclass(frozen=True)
class Claims:
    """records: a folder as ``runs``: study/preset/setting/records, or the records of a study that is no ablation."""

    records: Path

    @cached_property
    def read(self) -> dict[str, list[dict[str, Outcomes]]]:
        """By study, a preset each: setting ↦ outcomes."""
        return {study: self._presets(study) for study in dict.fromkeys(study for study, _ in ledger())}

    def rows(self) -> list[Row]:
        """(claim, size that was run, verdict, its parts), a row a claim and preset."""
        rows: list[Row] = []
        for study, claim in ledger():
            rows += [(claim, size(found), *claim.decide(found)) for found in self.read[study]]
            if not self.read[study]:
                cure = f"no records in {self.records / study}: run python -m experiments {study}"
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
        found = {
            f"{study} {i}, {name}": outcomes
            for study, presets in self.read.items()
            for i, settings in enumerate(presets)
            for name, outcomes in settings.items()
        }
        rows = self.rows()
        parts = [Section(f"{row[0].id}: {row[2].outcome}", [row[0].says, _parts(row)]) for row in rows if row[3]]
        lead = "What the records decide, at the size that was run, by rules that were fixed before."
        return (Page("Claims", lead, table=_table(rows), sections=parts), Together(found)) if found else None

    def _presets(self, study: str) -> list[dict[str, Outcomes]]:
        folder = self.records / study
        for place in (folder, folder / "records"):  # a study that is no ablation
            store = Store(place, dict)
            if single := [record for path in sorted(place.glob("*.json")) if (record := store.read(path)) is not None]:
                return [{"all": Outcomes(single, {}, len(single))}]
        presets = sorted(path for path in folder.glob("*") if path.is_dir())
        settings = [sorted(path.parent for path in preset.glob("*/records")) for preset in presets]
        return [{path.name: read(path).outcomes for path in paths} for paths in settings if paths]


def size(found: Mapping[str, Outcomes]) -> str:
    """What was trained, on how much, and how often; of a study that is no ablation, its runs."""
    outcomes = next(iter(found.values()))
    record = outcomes.records[0]
    if "setting" not in record.config:
        return "; ".join(each.title for each in outcomes.records)
    setting: dict[str, Any] = record.config["setting"]
    model, data, tested = setting["model"]["model"], setting["data"], record.result["test"]
    count = "all" if data["train"] is None else round(data["train"] * (1 - data["held_out"]))
    seeds = min(len(by_seed) for by_seed in outcomes.scores("accuracy").values())
    trained = f"{model} on {count} samples of {data['data']}, {setting['epochs']} epochs"
    return f"{trained}, {seeds} seeds a method, {tested['samples']} samples tested"


def _table(rows: list[Row]) -> Table:
    cells = [[claim.id, claim.says, verdict.outcome, run, verdict.why] for claim, run, verdict, _ in rows]
    return Table("Verdicts.", ["claim", "says", "verdict", "at", "why"], cells)


def _parts(row: Row) -> Table:
    claim, _, _, parts = row
    cells = [[part.claim, part.outcome, part.why] for part in parts.values()]
    return Table(f"{claim.id}, {claim.says}: its parts.", ["comparison", "verdict", "why"], cells)
