"""Where six methods end over many settings of the toy, and the paper's figures again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosam.ablation.report import Page, Shown
from geosam.records import Finished

from ..common.study import Part
from .config import Chunk, Config, Hunt, Map
from .kept import kept
from .report import page
from .result import Ends, Found
from .run import chart, count, hunt
from .summary import summarise


@dataclass(frozen=True)
class Toy:
    """The study of this configuration."""

    config: Config = Config()

    def parts(self) -> list[Part[Any]]:
        """Random settings, maps, and the settings of figures 2 and 3."""
        return [
            Part(self.config.chunks(), count, Ends, "counts"),
            Part(self.config.maps(), chart, Ends, "maps"),
            Part(self.config.hunts(), hunt, Found, "hunts"),
        ]

    def kept(self, folder: Path) -> tuple[Page, Shown] | None:
        """A short page of ``summary.json``, where there are no records."""
        return kept(self.config, folder)

    def page(self, finished: Finished) -> Page | None:
        """Figures, counts and ``summary.json``; None where a job failed, for a count of the others would be another count."""
        if finished.failed:
            return None
        return page(summarise(self.config, finished.of(Chunk), finished.of(Map), finished.of(Hunt)))
