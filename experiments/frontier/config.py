"""Everything that the study's numbers depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from geosam.records import LATER

from ..common.source import Source
from ..common.training import Training
from ..networks.known import KNOWN
from .methods import METHODS, Method

NETWORKS = ("cnn", "mlp")
"""Those of the digits. With a source it is a name of ``networks/known.py``."""


@dataclass(frozen=True)
class Looks:
    """At which epochs of plain SGD, on how many fixed training batches, and how all methods are evaluated there.

    kls: the KLs, in nats, at which efficiencies are compared; the radius of the budget is √(2 KL). ratios: further ``Relative``
    dampings that each method is tried at. limit: the ratio that stands for no damping in ‖g‖*, in float64. rounds: of timing.
    size: of those batches, whose rows in float64 have to fit in 512 MiB; None: as the training's.
    """

    epochs: tuple[int, ...] = (0, 1, 4, 16)
    batches: int = 1
    kls: tuple[float, ...] = (1e-6, 2e-2)
    ratios: tuple[float, ...] = (1e-1, 1e1)
    limit: float = 1e-8
    rounds: int = 3
    size: int | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if not self.epochs or sorted({*self.epochs}) != list(self.epochs) or self.epochs[0] < 0:
            raise ValueError(f"checkpoints are different epochs in order, from 0; got {self.epochs}")
        if min(self.batches, self.rounds, self.size or 1) < 1 or not self.kls or min(self.kls) <= 0:
            raise ValueError("batches and rounds must be at least 1 and every KL positive: otherwise nothing is measured")


@dataclass(frozen=True)
class Run:
    """One network trained from one seed, and evaluated at checkpoints: a job.

    source: what it is trained on, with the size of a batch; None: the digits as ``training`` has them.
    """

    network: str
    seed: int
    methods: tuple[Method, ...]
    training: Training
    looks: Looks
    source: Source | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        known = NETWORKS if self.source is None else tuple(KNOWN)
        if self.network not in known:
            raise ValueError(f"no network '{self.network}'; the networks are {', '.join(known)}")

    @property
    def title(self) -> str:
        """Network and seed."""
        return f"{self.network}, seed {self.seed}"


@dataclass(frozen=True)
class Config:
    """All networks at all seeds. The schedule of the learning rate ends with the last checkpoint."""

    networks: tuple[str, ...] = NETWORKS
    seeds: tuple[int, ...] = (0,)
    methods: tuple[Method, ...] = METHODS
    training: Training = Training(epochs=16, warmup=0)
    looks: Looks = Looks()
    source: Source | None = None

    def __post_init__(self) -> None:
        if self.looks.epochs[-1] > self.training.epochs:
            raise ValueError(f"the last checkpoint, {self.looks.epochs[-1]}, lies after the {self.training.epochs} epochs")

    def runs(self) -> list[Run]:
        """The jobs, the networks that take longest first."""
        seeds = [(name, seed) for name in self.networks for seed in self.seeds]
        return [Run(name, seed, self.methods, self.training, self.looks, self.source) for name, seed in seeds]


def digits() -> Config:
    """A CNN and an MLP on scikit-learn's digits."""
    return Config()


def small() -> Config:
    """ResNet-20 with frozen statistics and a vision transformer at the size of the digits, for one core."""
    return Config(
        networks=("resnet20_narrow", "vit_tiny"),
        training=Training(epochs=8, warmup=0, lr=0.1, batch=16),
        looks=Looks(epochs=(0, 2, 8), ratios=(1e-1,)),
        source=Source("digits", batch=16, train=600),
    )


def cifar10() -> Config:
    """ResNet-20 with frozen statistics and a vision transformer of 0.6 million parameters on CIFAR-10, for a device."""
    return Config(
        networks=("resnet20", "vit_small"),
        training=Training(epochs=30, warmup=0, lr=0.1, batch=64),
        looks=Looks(epochs=(0, 1, 10, 30), rounds=11, size=8),
        source=Source("cifar10", batch=64, device="cuda"),
    )


PRESETS: dict[str, Callable[[], Config]] = {"digits": digits, "small": small, "cifar10": cifar10}
