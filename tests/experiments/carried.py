"""A study carried out in this process, and what it did."""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from experiments.common.runner import carry_out, records_of
from experiments.common.study import Study
from geosam.ablation.report import Page


@dataclass
class Watched:
    """A study whose jobs are noted as they run. reports: else its page is empty."""

    study: Study
    reports: bool = True
    ran: list[str] = field(default_factory=list)

    def parts(self):
        return [replace(part, work=self._noting(part.work)) for part in self.study.parts()]

    def page(self, finished):
        return self.study.page(finished) if self.reports else Page("Nothing", "")

    def _noting(self, work):
        def noted(job):
            self.ran.append(job.title)
            return work(job)

        return noted


@dataclass(frozen=True)
class Carried:
    """page: what ``carry_out`` returned. ran: titles of the jobs without a record before. said: on the console."""

    out: Path
    page: Path | None
    ran: list[str]
    said: str


def carried(study, out, figure=None, reports=True):
    """With one worker, so in this process."""
    watched, text = Watched(study, reports), io.StringIO()
    console = Console(file=text, width=500)
    page = carry_out(watched, out, workers=1, fresh=False, figure=figure, console=console)
    return Carried(out, page, watched.ran, text.getvalue())


def records(study, out):
    """Of every job in its order, None where there is none."""
    return [records_of(part, out / "records").load(job) for part in study.parts() for job in part.jobs]
