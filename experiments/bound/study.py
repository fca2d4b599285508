"""Train with SAM and with Fisher SAM, and evaluate both theorems at the parameters that came out."""

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
class Bound:
    """The study of this configuration."""

    config: Config = Config()

    def parts(self) -> list[Part[Outcome]]:
        """A model in a geometry from a seed."""
        return [Part(self.config.runs(), measure, Outcome)]

    def page(self, finished: Finished) -> Page:
        """Figure, table and how to read them."""
        return page(summarise(self.config, finished.records), finished.records)
