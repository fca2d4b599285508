"""Every study whose records are in a folder, in short, and the claims."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from geosam.ablation.report import Block, Page, Picture, Section, Shown
from geosam.records import fingerprint

from ..claims.study import Claims
from ..common.overview import Together
from ..common.parts import parts
from ..common.runner import COMMAND, found, publish
from ..common.study import Filed, Whole

SELF = ("claims", "report")


@dataclass(frozen=True)
class Everything:
    """records: a folder as ``runs``, with what each study's ``--out`` has."""

    records: Path

    def carry_out(self, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
        """Write the page; nothing is run."""
        there = self.found(self.records)
        if there is None:
            console.print(f"[red]No study has a record in {self.records}: run one, or name another folder with --records.[/]")
            return None
        page, shown = there
        path = publish(page, shown, out / fingerprint([record.key for record in shown.records]), figure, console)
        console.print(str(path))
        return path

    def found(self, out: Path) -> tuple[Page, Together] | None:
        """A section a study and configuration, then the claims."""
        studies = list(pages(out))
        if not studies:
            return None
        sections = [Section(_title(page, studies), _short(page, f"{name}-{i}")) for i, (name, page, _) in enumerate(studies)]
        claims = Claims(out).found(out)
        if claims is not None and claims[0].table is not None:
            sections.insert(0, Section("Claims", [claims[0].lead, claims[0].table]))
        names = {name for name, _, _ in studies}
        count = f"{len(names)} {'study' if len(names) == 1 else 'studies'}"
        lead = f"{count}, each with its figure, table and verdict; `python -m experiments NAME` writes all."
        missing = [name for name in parts("command") if name not in {*names, *SELF, "benchmarks"}]
        setup = [f"No record here of {', '.join(missing)}."] if missing else []
        shown = Together({f"{name} {i}": each for i, (name, _, each) in enumerate(studies)})
        return Page("What the experiments say", lead, sections=sections, setup=setup), shown


def pages(records: Path, names: Collection[str] = ()) -> Iterator[tuple[str, Page, Shown]]:
    """(study, its page, its records), for each configuration that has any. names: only of these studies."""
    for name, module in parts("command").items():
        if names and name not in names:
            continue
        make, folder = getattr(module.command, "study", None), records / name
        if name in SELF or make is None or not folder.is_dir():
            continue
        for own in configurations(folder):
            study = make(**own)
            there = study.found(folder) if isinstance(study, Whole) else found(study, folder)
            if there is None and isinstance(study, Filed):
                there = study.kept(folder)
            if there is not None:
                yield name, *there


def configurations(folder: Path) -> list[dict[str, Any]]:
    """The options of a study's runs: as its command kept them, else its presets by the names of their folders, else its own."""
    kept = [json.loads(path.read_bytes()) for path in sorted(folder.rglob(COMMAND))]
    presets = sorted({path.parents[1] for path in folder.glob("*/*/records")})
    return kept or [{"preset": path.name.rpartition("-")[0]} for path in presets] or [{}]


def _short(page: Page, name: str) -> list[Block]:
    """Its pictures are named after the study, for others may have the same names."""
    blocks = [replace(block, name=f"{name}-{block.name}") if isinstance(block, Picture) else block for block in page.short]
    return [page.lead, *blocks]


def _title(page: Page, studies: list[tuple[str, Page, Shown]]) -> str:
    same = [each for _, each, _ in studies if each.title == page.title]
    return page.title if len(same) == 1 else f"{page.title} ({1 + [id(each) for each in same].index(id(page))})"
