"""The options of ``python -m experiments compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..common.cli import Seeds, as_command
from ..common.study import Study


@as_command
def command(
    seeds: Seeds = 3,
    epochs: Annotated[int, typer.Option(min=3, help="Epochs of every method, two of them warm-up.")] = 24,
    label_noise: Annotated[float, typer.Option(min=0, max=1, help="Part of the training labels that is wrong.")] = 0.3,
    kl: Annotated[float, typer.Option(help="KL that all radii are calibrated to, in nats.")] = 0.02,
) -> Study:
    """Train a small CNN in many geometries at matched KL, and show what each does to the perturbation."""
    from ..common.training import Training
    from .config import Calibration, Config
    from .study import Compare

    training = Training(epochs=epochs, label_noise=label_noise)
    return Compare(Config(seeds=tuple(range(seeds)), training=training, calibration=Calibration(kl=kl)))
