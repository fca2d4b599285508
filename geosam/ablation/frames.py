"""Records as data frames. The only importer of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import extra
from ..records import Record

LONG = {"errors", "samples", "labels"}
APART = ("validation", "look")


def runs(records: Sequence[Record[dict[str, Any]]]) -> Any:
    """A row a run."""
    rows = []
    for record in records:
        result = record.result
        scores = {k: v for k, v in (result["test"] or {}).items() if k not in LONG}
        rho = None if result["radius"] is None else result["radius"]["rho"]
        key = {"method": result["method"], "seed": record.seed}
        rest = {
            "rho": rho,
            "passes": result["passes"],
            "seconds": result.get("seconds", record.seconds),
            "diverged": result["diverged"],
        }
        rows.append({**key, **scores, **rest})
    return _pandas().DataFrame(rows)


def epochs(records: Sequence[Record[dict[str, Any]]]) -> Any:
    """A row an epoch that counts; scores on the validation data have "validation " before their names, looks "look "."""
    rows = []
    for record in records:
        for index, epoch in enumerate(record.result["epochs"], start=1):
            own = {k: v for k, v in epoch.items() if k not in APART}
            parts = {f"{part} {k}": v for part in APART for k, v in (epoch.get(part) or {}).items() if k not in LONG}
            rows.append({"method": record.result["method"], "seed": record.seed, "epoch": index, **own, **parts})
    return _pandas().DataFrame(rows)


def _pandas() -> Any:
    with extra("ablation", "data frames need pandas"):
        import pandas
    return pandas
