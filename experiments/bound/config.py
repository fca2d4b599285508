"""Everything that the study's numbers depend on."""

from __future__ import annotations

from dataclasses import dataclass

from geosam import Metric, Relative
from geosam.metrics import Euclidean, Fisher, GradientMagnitude

MODELS = ("logistic", "mlp")


@dataclass(frozen=True)
class Method:
    """metric: the geometry; gamma: its radius; covered: whether a theorem's priors may have this metric (see ``why``)."""

    name: str
    metric: Metric
    gamma: float
    covered: bool
    why: str


METHODS = (
    Method("SAM", Euclidean(), 0.05, True, "the metric is fixed beforehand"),
    Method("Fisher SAM, published", GradientMagnitude(1.0, 1.0), 0.1, False, "G = 1 + ḡ² is made of training gradients"),
    Method(
        "Fisher SAM, true F", Fisher(Relative(0.1), tolerance=3e-2, iterations=8), 0.1, False, "F is that of training inputs"
    ),
)


@dataclass(frozen=True)
class Training:
    """scikit-learn's digits: components of a PCA that is fitted to images put aside, then plain SGD under SAM.

    train_size, aside: images to train on and to fit the PCA to; the others test. split_seed: of that division.
    """

    train_size: int = 1000
    aside: int = 397
    split_seed: int = 0
    components: int = 8
    hidden: int = 16
    batch: int = 200
    epochs: int = 16
    lr: float = 0.3
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if min(self.train_size, self.aside, self.components, self.hidden, self.batch, self.epochs) < 1:
            raise ValueError("sizes and epochs must be positive: with nothing to train there is no bound to evaluate")
        if self.batch > self.train_size:
            raise ValueError(f"a batch of {self.batch} cannot be drawn from {self.train_size} images; pass a smaller one")


@dataclass(frozen=True)
class Run:
    """A model trained in one geometry from one seed: a job. draws: points of the ellipsoid and Gaussian steps to try."""

    model: str
    method: Method
    seed: int
    training: Training = Training()
    delta: float = 0.05
    draws: int = 200

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"no model '{self.model}'; the models are {', '.join(MODELS)}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta = {self.delta} is the chance that the bound fails; pass one between 0 and 1")

    @property
    def title(self) -> str:
        """Model, method and seed."""
        return f"{self.model}, {self.method.name}, seed {self.seed}"


@dataclass(frozen=True)
class Config:
    """Every model in every geometry at seeds 0, 1, …: how many of them."""

    seeds: int = 2
    training: Training = Training()
    delta: float = 0.05

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"{self.seeds} seeds are no run; ask for at least one")

    def runs(self) -> list[Run]:
        """The jobs."""
        return [
            Run(model, method, seed, self.training, self.delta)
            for model in MODELS
            for method in METHODS
            for seed in range(self.seeds)
        ]
