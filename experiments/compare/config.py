"""Everything that the study's numbers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from geosam import Metric

from .methods import METHODS, REFERENCE, SNAPSHOT_METRICS, Method


@dataclass(frozen=True)
class Training:
    """scikit-learn's digits, a small CNN, SGD with momentum and a cosine schedule: the same for every method.

    train_size: images to train on, stratified, the others test. label_noise: the part of the training labels that is
    replaced by another class, uniformly. split_seed: of split and noise, which all seeds share. warmup: the first of the
    epochs, plain SGD for every method. At random initial values the outputs hardly depend on the input, and a ball of the
    size that is right one epoch later can push training into a constant prediction.
    """

    train_size: int = 597
    label_noise: float = 0.3
    split_seed: int = 0
    width: int = 12
    batch: int = 64
    epochs: int = 24
    warmup: int = 2
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"warmup must leave an epoch to compare: got {self.warmup} of {self.epochs}")

    @property
    def steps(self) -> int:
        """Steps an epoch: whole batches only."""
        return self.train_size // self.batch


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
