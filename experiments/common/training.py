"""The training that studies on scikit-learn's digits share."""

from __future__ import annotations

from dataclasses import dataclass


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
