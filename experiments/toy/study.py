"""The study from end to end: records, counts, figures, report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure
from pydantic import BaseModel
from rich.console import Console

from ..describe import describe, fingerprint
from ..files import write
from ..page import png
from ..provenance import Provenance
from ..scheduling import Done, run_all
from ..store import Job, Record, Store
from ..style import styled
from . import figures
from .config import NAMES, Study
from .report import write_report
from .result import Ends, Found
from .summary import Summary, summarise
from .work import chart, count, hunt


def run(study: Study, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
    """The report's path; None where a job failed and nothing is reported. figure: where to put the picture by radius too."""
    start = time.perf_counter()

    def records(folder: str, jobs: Sequence[Job], work: Callable[..., BaseModel], result: type[BaseModel]) -> list[Done]:
        store = Store(out / "records" / folder, Record[result])
        return run_all(jobs, work, store, workers=workers, fresh=fresh, console=console)

    counted = records("counts", study.chunks(), count, Ends)
    charted = records("maps", study.maps(), chart, Ends)
    hunted = records("hunts", study.hunts(), hunt, Found)
    every = [*counted, *charted, *hunted]
    failed = [done.job.title for done in every if done.record is None]
    if failed:
        console.print(f"[red]No report: {len(failed)} of {len(every)} jobs failed. The others have their records.[/]")
        return None
    summary = summarise(study, *([(d.job, d.record) for d in part] for part in (counted, charted, hunted)))
    filed = {"key": fingerprint(study), "config": describe(study)}
    record = {**filed, "provenance": asdict(Provenance.here()), **summary.record()}
    write(out / "summary.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
    pictures = draw(summary)
    for name, picture in pictures.items():
        png(picture, out / "figures" / f"{name}.png")
    if figure is not None:
        png(pictures["by_radius"], figure)
    page = write_report(out / "report.html", summary, [done.record for done in every], pictures)
    _say(summary, page, time.perf_counter() - start, console)
    return page


def draw(summary: Summary) -> dict[str, Figure]:
    """All figures, by name."""
    hunts = list(summary.found.items())
    with styled():
        return {
            "figure_1": figures.figure_1(),
            **{f"figure_{k}": figures.paths([(job, f) for job, f in hunts if job.figure == k]) for k in (2, 3)},
            "by_radius": figures.by_radius(summary),
            "shares": figures.shares(summary),
            **{f"map_{name}": figures.basins(summary, name) for name in NAMES},
            "banana": figures.banana(),
        }


def _say(summary: Summary, page: Path, seconds: float, console: Console) -> None:
    table = summary.duels()
    for _, row in table[table["where"] == "all"].iterrows():
        console.print(
            f"{row['loss']}, {row['design']}, FSAM : {row['rival']}  at the minima {row['wins']} : {row['losses']}, "
            f"on their sides {row['crossed']} : {row['recrossed']}"
        )
    console.print(f"{page}  ({seconds:.0f} s)")
