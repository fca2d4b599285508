"""Every approximation of the Fisher information along real training: how far it is from the exact one, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geosam.records import Finished

from ..common.study import Part, Report
from .config import Config
from .figures import draw
from .report import said, write_report
from .result import Outcome
from .run import measure
from .summary import summarise


@dataclass(frozen=True)
class Frontier:
    """The study of this configuration."""

    config: Config = Config()

    def parts(self) -> list[Part[Outcome]]:
        """A network from a seed, with all its checkpoints."""
        return [Part(self.config.runs(), measure, Outcome)]

    def report(self, finished: Finished, out: Path) -> Report:
        """``report.html``."""
        summary = summarise(self.config, finished.records)
        pictures = draw(summary)
        page = write_report(out / "report.html", summary, finished, pictures)
        return Report(page, out / "figures" / "frontier.png", said(summary))
