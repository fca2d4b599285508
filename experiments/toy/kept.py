"""Counts as they were filed, in place of the records of single settings, which are too many to keep in a repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from geosam.ablation.report import Page, Picture
from geosam.records import Finished, fingerprint

from .config import Config
from .figures import shares
from .report import COUNTED, radius_table, wins


@dataclass(frozen=True)
class Kept:
    """What ``Summary`` has, as far as ``Summary.filed`` holds it."""

    filed: Mapping[str, Any]

    def pairs(self) -> list[tuple[str, str]]:
        """Loss and design."""
        return [(each["loss"], each["design"]) for each in self.filed["converged"]]

    def ends(self, loss: str, design: str) -> pd.DataFrame:
        """How many runs of each method (rows) end where (columns)."""
        table = pd.DataFrame(self.filed["ends"])
        mine = table[(table["loss"] == loss) & (table["design"] == design)]
        return mine.set_index("method").drop(columns=["loss", "design"])

    def by_radius(self) -> pd.DataFrame:
        """How many runs of FSAM end where (columns), by ranges of ρ (rows)."""
        return pd.DataFrame(self.filed["by_radius"]).set_index("rho")

    def duels(self) -> pd.DataFrame:
        """FSAM against SAM and ASAM."""
        return pd.DataFrame(self.filed["duels"])


def kept(config: Config, folder: Path) -> tuple[Page, Finished] | None:
    """A short page of the folder's ``summary.json``; None where there is none, or one of another configuration."""
    path = folder / "summary.json"
    filed = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if filed.get("key") != fingerprint(config):
        return None
    counts = Kept(filed)
    lead = (
        f"Kim et al. (ICML 2022, section 3.1): six methods from {filed['settings']:,} random settings in each of two designs, "
        f"as counted at commit {filed['provenance']['commit']}; `python -m experiments toy` runs them again, with all figures."
    )
    picture = Picture("shares", COUNTED, partial(shares, counts))
    return Page("The toy of Fisher SAM, again", lead, picture, radius_table(counts), wins(counts)), Finished([])
