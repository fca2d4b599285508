"""The records as tables: everything that figures and report show is computed here, once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from geosam.records import Provenance, Record, describe, fingerprint
from theory.toy_ends import End

from .config import DESIGNS, LOSSES, NAMES, OWN, Chunk, Config, Hunt, Map, radii
from .result import Ends, Found
from .run import reached

RHOS = (0.05, 0.5, 1.0, math.sqrt(2), 2.5)
FINE = (0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 1.2, math.sqrt(2), 2.5)
NO_RADIUS = "no such radius"
SIGMAS = (0.0, 30.0, 40.0, 50.0, 60.0)


class Counts(Protocol):
    """What is shown of a summary, and kept of it."""

    def pairs(self) -> list[tuple[str, str]]:
        """As ``Summary``'s."""

    def ends(self, loss: str, design: str) -> pd.DataFrame:
        """As ``Summary``'s."""

    def by_radius(self) -> pd.DataFrame:
        """As ``Summary``'s."""

    def duels(self) -> pd.DataFrame:
        """As ``Summary``'s."""


@dataclass(frozen=True)
class Summary:
    """settings: a row a setting and design: loss, design, small (of the pool with small |μ|), μ, σ, lr, ρ of FSAM, and each
    method's ``End``, or −1 where the design asks for a radius that the method does not have."""

    config: Config
    settings: pd.DataFrame
    maps: Mapping[Map, Ends]
    found: Mapping[Hunt, Found]

    def of(self, loss: str, design: str, small: bool = False) -> pd.DataFrame:
        """The settings of one table."""
        table = self.settings
        return table[(table["loss"] == loss) & (table["design"] == design) & (table["small"] == small)]

    def pairs(self) -> list[tuple[str, str]]:
        """Loss and design, those that have records."""
        return [pair for pair in product(LOSSES, DESIGNS) if len(self.of(*pair))]

    def converged(self, loss: str, design: str) -> int:
        """Settings at which every method ran and settled."""
        return int((~self.of(loss, design)[list(NAMES)].isin([End.UNSETTLED, -1])).all(axis=1).sum())

    def ends(self, loss: str, design: str) -> pd.DataFrame:
        """How many runs of each method (rows) end where (columns), and at how many settings it has no such radius."""
        table, columns = self.of(loss, design), {**{end.name: int(end) for end in End}, NO_RADIUS: -1}
        return pd.DataFrame(
            {title: [(table[name] == k).sum() for name in NAMES] for title, k in columns.items()}, index=list(NAMES)
        )

    def by_radius(self) -> pd.DataFrame:
        """How many runs of FSAM end where (columns), by ranges of ρ (rows): the figure's loss, own radii."""
        table, rows = self.of("the figure's", OWN), {}
        for low, high in pairwise(FINE):
            part = table[(table["rho"] >= low) & (table["rho"] < high)]["FSAM"]
            rows[f"{low:.3g} – {high:.3g}"] = {end.name: int((part == end).sum()) for end in End}
        return pd.DataFrame.from_dict(rows, orient="index")

    def duels(self) -> pd.DataFrame:
        """FSAM against SAM and ASAM, over all settings and over parts of them: see ``duel``."""
        rows = []
        for (loss, design), rival in product(self.pairs(), ("SAM", "ASAM")):
            chosen = parts(self.of(loss, design))
            if rival == "ASAM":
                chosen["small |μ|"] = self.of(loss, design, small=True)
            for where, part in chosen.items():
                rows.append({"loss": loss, "design": design, "rival": rival, "where": where, **duel(part, rival)})
        return pd.DataFrame(rows)

    def filed(self) -> dict[str, Any]:
        """All counts as plain data, with the configuration that they belong to."""
        return {
            "key": fingerprint(self.config),
            "config": describe(self.config),
            "provenance": asdict(Provenance.here()),
            "settings": self.config.settings,
            "converged": [
                {"loss": loss, "design": design, "settings": self.converged(loss, design)} for loss, design in self.pairs()
            ],
            "ends": [
                {"loss": loss, "design": design, "method": name, **{k: int(v) for k, v in row.items()}}
                for loss, design in self.pairs()
                for name, row in self.ends(loss, design).iterrows()
            ],
            "by_radius": [{"rho": where, **row} for where, row in self.by_radius().to_dict("index").items()],
            "duels": [{k: _plain(v) for k, v in row.items()} for row in self.duels().to_dict("records")],
            "figures": [{"figure": h.figure, "won": h.won, "rival": h.rival, **f.model_dump()} for h, f in self.found.items()],
        }


def parts(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All settings, by ρ and by the start's σ."""
    chosen = {"all": table}
    for low, high in pairwise(RHOS):
        name = f"ρ {low:.2g} – {high:.3g}"
        chosen[name] = table[(table["rho"] >= low) & (table["rho"] < high)]
    for low, high in pairwise(SIGMAS):
        name = f"σ {low:.2g} – {high:.2g}" if low else f"σ < {high:.2g}"
        chosen[name] = table[(table["sigma"] >= low) & (table["sigma"] < high)]
    return chosen


def duel(table: pd.DataFrame, rival: str) -> dict[str, Any]:
    """How often FSAM and its rival end apart. Shares with 95 % intervals (Clopper and Pearson).

    wins, losses: FSAM at the flat minimum and the rival at the sharp one, and the reverse; crossed, recrossed: the same of
    their sides, at the minimum or not. share, low, high: crossed of crossed and recrossed. sharp: settings where the rival ends
    at the sharp minimum and FSAM's run settles (one that left σ > 0 counts); then, then_low, then_high: the part of these where
    FSAM ends on the flat side, which the paper's reading wants to be 1.
    """
    mine, theirs = table["FSAM"].to_numpy(), table[rival].to_numpy()

    def both(first: End, second: End, strict: bool) -> int:
        return int((reached(mine, first, strict) & reached(theirs, second, strict)).sum())

    crossed, recrossed = both(End.FLAT, End.SHARP, False), both(End.SHARP, End.FLAT, False)
    sharp = (theirs == End.SHARP) & (mine != End.UNSETTLED)
    then = int((sharp & reached(mine, End.FLAT, False)).sum())
    return {
        "settings": len(table),
        "wins": both(End.FLAT, End.SHARP, True),
        "losses": both(End.SHARP, End.FLAT, True),
        "crossed": crossed,
        "recrossed": recrossed,
        **dict(zip(("share", "low", "high"), interval(crossed, crossed + recrossed), strict=True)),
        "sharp": int(sharp.sum()),
        **dict(zip(("then", "then_low", "then_high"), interval(then, int(sharp.sum())), strict=True)),
    }


def interval(k: int, n: int) -> tuple[float, float, float]:
    """k/n and its exact 95 % interval; NaN for n = 0."""
    if not n:
        return math.nan, math.nan, math.nan
    bounds = binomtest(k, n).proportion_ci(0.95, "exact")
    return k / n, float(bounds.low), float(bounds.high)


def summarise(
    config: Config,
    counted: Sequence[tuple[Chunk, Record[Ends]]],
    charted: Sequence[tuple[Map, Record[Ends]]],
    hunted: Sequence[tuple[Hunt, Record[Found]]],
) -> Summary:
    """The settings are drawn again from each job's seed; the records hold the ends."""
    tables = []
    for job, record in counted:
        theta, lr, rho = job.settings.draw(LOSSES[job.loss], job.seed, job.n)
        columns = {"mu": theta[0], "sigma": theta[1], "lr": lr, "rho": rho}
        rhos = radii(job.design, LOSSES[job.loss], theta, rho)
        found = {name: np.where(np.isfinite(rhos[name]), digits(record.result.ends[name]).astype(int), -1) for name in NAMES}
        kind = {"loss": job.loss, "design": job.design, "small": job.settings == config.small}
        tables.append(pd.DataFrame({**kind, **columns, **found}))
    return Summary(
        config,
        pd.concat(tables, ignore_index=True),
        {job: record.result for job, record in charted},
        {job: record.result for job, record in hunted},
    )


def digits(text: str) -> np.ndarray:
    """The ends that a record writes as digits."""
    return np.frombuffer(text.encode(), np.uint8) - ord("0")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
