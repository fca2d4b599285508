"""The records as tables: everything that figure and report show is computed here, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from geosam.records import Record

from .config import Config
from .methods import SHARED
from .result import Outcome


@dataclass(frozen=True)
class Summary:
    """Long tables. looks: one row a network, seed, epoch, batch, method, damping and KL. costs: one a network, seed and
    method. places: one a network, seed and epoch.
    """

    config: Config
    looks: pd.DataFrame
    costs: pd.DataFrame
    places: pd.DataFrame

    @property
    def networks(self) -> list[str]:
        """Those with a record."""
        return [name for name in self.config.networks if name in set(self.places["network"])]

    @property
    def noise(self) -> float:
        """The median of what the Euclidean perturbation's time differs from itself."""
        return float(self.costs["noise"].median())

    def points(self, network: str, epoch: int, kl: float) -> pd.DataFrame:
        """By method, medians over seeds and batches: efficiency, cosine, spent at the shared damping, time ratio, and the best
        efficiency of the dampings that were tried with its ratio. Time is that at the last checkpoint.
        """
        mine = self.looks[(self.looks["network"] == network) & (self.looks["epoch"] == epoch) & (self.looks["kl"] == kl)]
        median = mine.groupby(["method", "ratio"], dropna=False, sort=False)[
            ["efficiency", "cosine", "local", "spent"]
        ].median()
        table = median.reset_index()
        shared = table[table["ratio"].isna() | (table["ratio"] == SHARED.ratio)].set_index("method")
        best = (
            table.sort_values("efficiency", ascending=False, na_position="last").drop_duplicates("method").set_index("method")
        )
        times = self.costs[self.costs["network"] == network].groupby("method")["time"].median()
        found = shared.assign(best=best["efficiency"], best_ratio=best["ratio"], time=times)
        return found.loc[[m.name for m in self.config.methods if m.name in found.index]]


def summarise(config: Config, records: Sequence[Record[Outcome]]) -> Summary:
    """From records in any order."""
    looks, costs, places = [], [], []
    for record in records:
        out = record.result
        run = {"network": out.network, "seed": record.seed, "noise": out.noise}
        costs += [{**run, "method": c.method, "time": c.ratio, "bytes": c.bytes} for c in out.costs]
        for place in out.checkpoints:
            key = {"network": out.network, "seed": record.seed, "epoch": place.epoch}
            places.append({**key, "loss": place.loss, "accuracy": place.accuracy})
            looks += [{**key, **look.model_dump(exclude={"at"}), **at.model_dump()} for look in place.looks for at in look.at]
    table = pd.DataFrame(looks)
    numbers = ["ratio", "cosine", "local", "spent", "efficiency", "iterations", "residual"]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return Summary(config, table, pd.DataFrame(costs), pd.DataFrame(places))


def directions(s: Summary, network: str, epoch: int, kl: float) -> pd.DataFrame:
    """Without those whose direction is another one's: KLExact has that of the norm it goes along."""
    hidden = [m.name for m in s.config.methods if hasattr(m.metric, "along")]
    return s.points(network, epoch, kl).drop(index=hidden, errors="ignore").dropna(subset=["efficiency"])


def frontier(points: pd.DataFrame, value: str = "efficiency", gain: float = 0.01) -> pd.DataFrame:
    """Cheapest first, the methods that are better by ``gain`` at least than all that take the same time or less."""
    ordered = points.dropna(subset=[value]).sort_values(["time", value], ascending=[True, False])
    kept, best = [], float("-inf")
    for name, reached in ordered[value].items():
        if reached >= best + gain:
            kept.append(name)
            best = reached
    return ordered.loc[kept]
