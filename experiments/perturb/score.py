"""Test accuracy with the weights moved."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from geosam import Metric
from geosam.core import InnerProduct
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, ParameterScaled

from ..common.protocol import frozen, tested
from ..common.solved import solved
from ..common.source import Source

GEOMETRIES: Mapping[str, Metric] = {
    "Euclidean": Euclidean(),
    "ASAM": ParameterScaled(0.01),
    "diagonal Fisher": DiagonalEmpiricalFisher(),
    "full Fisher": EmpiricalFisher(),
}
ADVERSARIAL, GAUSSIAN = "adversarial", "Gaussian"


@dataclass(frozen=True)
class Moved:
    """The score of a trained model, and its accuracy at θ + α ε/‖ε‖₂ for every α.

    adversarial: ε = ♯g, in the Euclidean geometry θ + α g/‖g‖ of section 5.4. Gaussian: ε ~ N(0, G⁻¹), the mean of ``draws``.
    α is a Euclidean length in every geometry: only the direction is the geometry's. g, G: on so many ``samples`` of the
    training set. area: the mean over α, which decides. chance, near: the rule for "nonsensical" at the largest α.
    """

    source: Source
    alphas: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    geometries: Mapping[str, Metric] = field(default_factory=lambda: dict(GEOMETRIES))
    samples: int = 300
    draws: int = 3
    chance: float = 0.1
    near: float = 0.05

    def __call__(self, model: nn.Module, loss: Any, batches: Any) -> dict[str, Any]:
        """Numbers by "adversarial, Euclidean, α 0.1", and "area" in place of α."""
        shown = list(batches)
        found = tested(model, loss, shown)
        for name, directions in self._directions(model).items():
            each = [[_accuracy(model, shown, d, alpha) for alpha in self.alphas] for d in directions]
            means = [statistics.fmean(values) for values in zip(*each, strict=True)]
            found |= {f"{name}, α {alpha:g}": value for alpha, value in zip(self.alphas, means, strict=True)}
            found[f"{name}, area"] = statistics.fmean(means)
        return found

    def _directions(self, model: nn.Module) -> dict[str, list[list[Tensor]]]:
        task = self.source.task
        x, y = task.standardise(task.split.x[: self.samples]), task.split.y[: self.samples]
        bound, found = frozen(model, nn.CrossEntropyLoss()).on(x, y), dict[str, list[list[Tensor]]]()
        for name, metric in self.geometries.items():
            with torch.enable_grad():
                observation, epsilon = solved(bound, metric, 1.0)
                norm = metric.at(observation)
            found[f"{ADVERSARIAL}, {name}"] = [epsilon]
            if isinstance(norm, InnerProduct):
                noise = torch.Generator().manual_seed(0)
                found[f"{GAUSSIAN}, {name}"] = [norm.sample(noise, epsilon) for _ in range(self.draws)]
        return found


@torch.no_grad()
def _accuracy(model: nn.Module, batches: Sequence[Any], epsilon: Sequence[Tensor], alpha: float) -> float:
    length = torch.stack([e.double().square().sum() for e in epsilon]).sum().sqrt()
    with _at(model, [e * (alpha / length).to(e) for e in epsilon]):
        return float(tested(model, None, batches)["accuracy"])


@contextmanager
def _at(model: nn.Module, epsilon: Sequence[Tensor]) -> Iterator[None]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    kept = [p.clone() for p in parameters]
    try:
        for p, e in zip(parameters, epsilon, strict=True):
            p.add_(e)
        yield
    finally:
        for p, k in zip(parameters, kept, strict=True):
            p.copy_(k)
