"""Train one network in many geometries at matched KL, and set what they do side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geosam.records import Finished

from ..common.study import Part, Report
from .config import Config
from .figures import draw
from .report import said, write_report
from .result import Outcome
from .run import train
from .summary import summarise


@dataclass(frozen=True)
class Compare:
    """The study of this configuration."""

    config: Config = Config()

    def parts(self) -> list[Part[Outcome]]:
        """A method from a seed."""
        return [Part(self.config.runs(), train, Outcome)]

    def report(self, finished: Finished, out: Path) -> Report:
        """``report.html``."""
        summary = summarise(self.config, finished.records)
        pictures = draw(summary)
        page = write_report(out / "report.html", summary, finished, pictures)
        return Report(page, out / "figures" / "overview.png", said(summary))
