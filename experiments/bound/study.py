"""Train with SAM and with Fisher SAM, and evaluate both theorems at the parameters that came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geosam.ablation.report import saved
from geosam.records import Finished

from ..common.study import Part, Report
from .config import Config
from .figures import draw
from .report import said, write_report
from .result import Outcome
from .run import measure
from .summary import summarise


@dataclass(frozen=True)
class Bound:
    """The study of this configuration."""

    config: Config = Config()

    def parts(self) -> list[Part[Outcome]]:
        """A model in a geometry from a seed."""
        return [Part(self.config.runs(), measure, Outcome)]

    def report(self, finished: Finished, out: Path) -> Report:
        """``bound.md``."""
        summary = summarise(self.config, finished.records)
        picture = saved(draw(summary), out, "bound")
        page = write_report(out / "bound.md", summary, finished.records, picture)
        return Report(page, picture, said(summary))
