"""m-sharpness: an ε for each part of a batch, and one step of the base optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import geosam
from geosam import Metric
from geosam.observation import Needs, Observation


@dataclass(frozen=True)
class InParts(Metric):
    """``metric``, of each of so many parts of a batch by itself where the step is :func:`in_parts`."""

    metric: Metric
    parts: int

    @property
    def needs(self) -> Needs:
        """The metric's."""
        return self.metric.needs

    def local(self, observation: Observation) -> Any:
        """The metric's norm."""
        return self.metric.local(observation)


def in_parts(optimizer: Any, problem: geosam.Problem) -> Any:
    """``step(x, y)``: ∇ = Σ_k (n_k/n) ∇L_k(θ + ε_k), ε_k of part k alone; of other metrics an ordinary step.

    Source: Foret et al. 2021, section 4.1 (m-sharpness, m the size of a part).
    """
    metric = getattr(optimizer, "metric", None)
    if not isinstance(metric, InParts):
        return lambda x, y: optimizer.step(problem.on(x, y))

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        losses = []
        for part_x, part_y in zip(x.chunk(metric.parts), y.chunk(metric.parts), strict=True):
            share = len(part_y) / len(y)
            losses.append(optimizer.perturb(problem.on(part_x, part_y)).loss * share)
            (share * problem.loss(problem.model(part_x), part_y)).backward()
        optimizer.step()
        return torch.stack(losses).sum()

    return step
