"""Everything that the study's numbers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geosam import Metric

from ..common.training import Training
from .methods import METHODS, REFERENCE, SNAPSHOT_METRICS, Method


@dataclass(frozen=True)
class Calibration:
    """Where a method's radius comes from; nothing is tuned.

    After the warm-up, at the point where the methods part: on each of ``batches`` fixed training batches rho is the radius at
    which ε* has KL ``kl``; their geometric mean is used to the end of the run.
    """

    kl: float = 0.02
    batches: int = 4


@dataclass(frozen=True)
class Snapshots:
    """Along the run of ``method``, after the warm-up and after these parts of its epochs: all ``metrics`` on the first
    calibration batch, each calibrated to the target KL there."""

    method: str = REFERENCE
    parts: tuple[float, ...] = (1 / 4, 1 / 2, 1.0)
    metrics: Mapping[str, Metric] = field(default_factory=lambda: dict(SNAPSHOT_METRICS))

    def after(self, training: Training) -> list[int]:
        """The epochs after which to look."""
        return sorted({max(1, epoch) for epoch in (training.warmup, *(round(p * training.epochs) for p in self.parts))})


@dataclass(frozen=True)
class Run:
    """One method, one seed: a job. snapshots: None for all methods but one."""

    method: Method
    seed: int
    training: Training
    calibration: Calibration
    snapshots: Snapshots | None

    @property
    def title(self) -> str:
        """Method and seed."""
        return f"{self.method.name}, seed {self.seed}"


@dataclass(frozen=True)
class Config:
    """All methods at all seeds. Runs at equal seed share initial parameters, radius batches and the order of batches."""

    methods: tuple[Method, ...] = METHODS
    seeds: tuple[int, ...] = (0, 1, 2)
    training: Training = Training()
    calibration: Calibration = Calibration()
    snapshots: Snapshots = field(default_factory=Snapshots)

    def runs(self) -> list[Run]:
        """The jobs, those with snapshots first: they take longest."""
        runs = [
            Run(m, seed, self.training, self.calibration, self.snapshots if m.name == self.snapshots.method else None)
            for seed in self.seeds
            for m in self.methods
        ]
        return sorted(runs, key=lambda run: run.snapshots is None)
