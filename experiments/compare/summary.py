"""The records as tables: everything that figures and report show is computed here, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from geosam.records import Record

from .config import Config
from .methods import PUBLISHED, REFERENCE
from .result import Outcome

SAME = 1e-3  # 1 − cos below which a direction is called SAM's own


@dataclass(frozen=True)
class Summary:
    """Long tables, one row per

    runs: method and seed · epochs: method, seed and epoch · looks: metric, seed and snapshot · angles: pair of metrics, seed
    and snapshot (gap = 1 − cos).
    """

    config: Config
    runs: pd.DataFrame
    epochs: pd.DataFrame
    looks: pd.DataFrame
    angles: pd.DataFrame
    refused: tuple[str, ...]

    @property
    def methods(self) -> list[str]:
        """Those that have a record, in the study's order."""
        return [m.name for m in self.config.methods if m.name in set(self.runs["method"])]

    @property
    def sams(self) -> list[str]:
        """Those with a geometry."""
        return [m.name for m in self.config.methods if m.metric is not None and m.name in set(self.runs["method"])]

    @property
    def metrics(self) -> list[str]:
        """Those of the snapshots, in their order."""
        return [name for name in self.config.snapshots.metrics if name in set(self.looks["metric"])]

    def gaps(self) -> pd.DataFrame:
        """Every snapshot's 1 − cos between a metric's ε* and Euclidean SAM's."""
        return self.angles[(self.angles["a"] == REFERENCE) & (self.angles["b"] != REFERENCE)].rename(columns={"b": "metric"})

    def same_as_sam(self) -> set[str]:
        """Euclidean, and the metrics whose ε* pointed SAM's way in every snapshot."""
        largest = self.gaps().groupby("metric")["gap"].max()
        return {REFERENCE, *largest.index[largest < SAME]}

    def published_gap(self) -> float | None:
        """The largest 1 − cos between the published Fisher SAM setting and SAM."""
        gaps = self.gaps()
        gaps = gaps[gaps["metric"] == PUBLISHED]["gap"]
        return None if gaps.empty else float(gaps.max())

    def by_method(self) -> pd.DataFrame:
        """Accuracy (mean, lowest, highest), its difference to Euclidean SAM at equal seed, median step time ratio, radius."""
        pivot = self.runs.pivot(index="method", columns="seed", values="accuracy").loc[self.methods]
        table = pd.DataFrame({"mean": pivot.mean(axis=1), "low": pivot.min(axis=1), "high": pivot.max(axis=1)})
        if REFERENCE in pivot.index:
            table["paired"] = (pivot - pivot.loc[REFERENCE]).mean(axis=1)
        grouped = self.runs.groupby("method")
        table["ratio"] = grouped["ratio"].median()
        table["gradients"] = grouped["gradients"].first()
        return table


def summarise(config: Config, records: Sequence[Record[Outcome]]) -> Summary:
    """From records in any order; methods without one are left out."""
    runs, epochs, looks, angles, refused = [], [], [], [], []
    for record in records:
        out, key = record.result, {"method": record.result.method, "seed": record.seed}
        runs.append({**key, **_run(out)})
        epochs += [{**key, "epoch": e, **row.model_dump()} for e, row in enumerate(out.epochs, start=1)]
        for look in out.snapshots:
            at = {"seed": record.seed, "epoch": look.epoch}
            names = [row["name"] for row in look.rows]
            looks += [{**at, "metric": row["name"], **row} for row in look.rows]
            angles += [
                {**at, "a": a, "b": b, "cosine": look.cosine[i][j], "gap": max(0.0, 1 - look.cosine[i][j])}
                for i, a in enumerate(names)
                for j, b in enumerate(names)
            ]
            refused += [f"{name}, seed {record.seed}, epoch {look.epoch}: {why}" for name, why in look.refused.items()]
    return Summary(
        config=config,
        runs=pd.DataFrame(runs),
        epochs=_with_spent(pd.DataFrame(epochs), config.calibration.kl),
        looks=pd.DataFrame(looks, columns=None if looks else ["seed", "epoch", "metric"]),
        angles=pd.DataFrame(angles, columns=["seed", "epoch", "a", "b", "cosine", "gap"]),
        refused=tuple(refused),
    )


def _run(out: Outcome) -> dict[str, object]:
    return {
        "accuracy": out.accuracy,
        "ratio": out.step_seconds / out.reference_seconds,
        "gradients": out.epochs[-1].gradients,
        "rho": None if out.radius is None else out.radius.rho,
        "radii": None if out.radius is None else out.radius.each,
    }


def _with_spent(epochs: pd.DataFrame, target: float) -> pd.DataFrame:
    return epochs.assign(spent=pd.to_numeric(epochs["kl"]) / target)
