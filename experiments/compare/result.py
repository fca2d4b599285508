"""What one run found out."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Number = float | None  # None: not finite, or it does not apply


class Epoch(BaseModel):
    """gradients: evaluations so far, two a SAM step. loss: mean over the epoch's first passes, on the noisy labels.

    kl, length: of ε* with the run's fixed rho, geometric means over the calibration batches; None for
    SGD and in the warm-up.
    """

    gradients: int
    loss: Number
    test_accuracy: float
    test_loss: Number
    kl: Number
    length: Number


class Radius(BaseModel):
    """rho: the geometric mean of ``each``, which has one radius a calibration batch."""

    rho: float
    each: list[float]


class Snapshot(BaseModel):
    """rows and cosine: of ``geosam.compare`` at matched KL. refused: metrics that could not be calibrated, and why."""

    epoch: int
    rows: list[dict[str, Any]]
    cosine: list[list[float]]
    refused: dict[str, str]


class Outcome(BaseModel):
    """step_seconds, reference_seconds: medians, of the run's own steps and of Euclidean SAM steps between them."""

    method: str
    parameters: int
    radius: Radius | None
    epochs: list[Epoch]
    step_seconds: float
    reference_seconds: float
    snapshots: list[Snapshot]

    @property
    def accuracy(self) -> float:
        """On the test images after the last epoch; no epoch is chosen by looking."""
        return self.epochs[-1].test_accuracy
