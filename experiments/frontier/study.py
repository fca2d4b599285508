"""Every approximation of the Fisher information along real training: how far it is from the exact one, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from geosam.ablation.report import Page
from geosam.records import Finished

from ..common.study import Part
from .config import Config
from .report import page
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

    def page(self, finished: Finished) -> Page:
        """Figure, table and what they say."""
        records = finished.records
        return page(summarise(self.config, records), {record.result.network: record.result.parameters for record in records})
