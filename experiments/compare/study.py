"""Train one network in many geometries at matched KL, and set what they do side by side."""

from __future__ import annotations

from dataclasses import dataclass

from geosam.ablation.report import Page
from geosam.records import Finished

from ..common.study import Part
from .config import Config
from .report import page
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

    def page(self, finished: Finished) -> Page:
        """Figures, tables and what they say."""
        return page(summarise(self.config, finished.records), finished.records[0].result.parameters)
