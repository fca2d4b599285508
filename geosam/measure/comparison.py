"""A comparison as numbers: a row a metric, and the cosines between their perturbations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .table import Table, Tabled, shown


@dataclass(frozen=True)
class Row:
    """One metric's perturbation.

    rho: the radius in the metric's own norm. length: ‖ε‖₂. kl: D(ε); spent: D(ε)/(ρ²/2). efficiency: ⟨g, ε⟩/(‖g‖_{F*}√(2D)),
    at most 1 to first order, F the undamped true Fisher. predicted_rise: ⟨g, ε⟩. actual_rise: L(θ+ε) − L(θ). share: the
    part of ‖ε‖₂² by layer. seconds: to observe and solve; extra_bytes: its peak memory. report: the solver's.
    Without a predictive distribution kl, spent and efficiency are None.
    """

    name: str
    rho: float
    length: float
    kl: float | None
    spent: float | None
    efficiency: float | None
    predicted_rise: float
    actual_rise: float
    seconds: float
    extra_bytes: int
    share: dict[str, float]
    report: dict[str, Any]


_COLUMNS = {
    "rho": "{:.3g}",
    "length": "{:.3g}",
    "kl": "{:.3g}",
    "spent": "{:.3g}",
    "efficiency": "{:.3f}",
    "predicted_rise": "{:.3g}",
    "actual_rise": "{:.3g}",
    "seconds": "{:.2g}",
    "extra_bytes": "{:.2g}",
}


@dataclass(frozen=True)
class Comparison(Tabled):
    """Rows in the order asked for, and the cosines ⟨ε_a, ε_b⟩/(‖ε_a‖‖ε_b‖) between them. ``print`` shows both as tables."""

    rows: list[Row]
    cosine: list[list[float]]

    @property
    def names(self) -> list[str]:
        """The metrics' names."""
        return [row.name for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def records(self) -> list[dict[str, Any]]:
        """A row a metric; its cosines with the others are in columns named "cosine …"."""
        plain = [{k: v for k, v in row.items() if k not in ("share", "report")} for row in self.to_dict()["rows"]]
        cosines = ({f"cosine {name}": c for name, c in zip(self.names, line, strict=True)} for line in self.cosine)
        return [row | more for row, more in zip(plain, cosines, strict=True)]

    def tables(self) -> list[Table]:
        """Numbers a metric, and 1 − cosine: perturbations that are the same direction show as 1e-7, not as a rounded 1.000."""
        numbers = [[row.name, *(shown(getattr(row, c), form) for c, form in _COLUMNS.items())] for row in self.rows]
        angles = [
            [f"{i} {row.name}", *(f"{max(0.0, 1 - c):.1e}" for c in line)]
            for i, (row, line) in enumerate(zip(self.rows, self.cosine, strict=True))
        ]
        places = [str(i) for i in range(len(self.rows))]
        return [Table(["metric", *_COLUMNS], numbers), Table(["1 - cosine", *places], angles)]
