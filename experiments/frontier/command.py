"""The options of ``python -m experiments frontier``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..common.cli import Seeds, as_command
from ..common.study import Study


@as_command
def command(
    seeds: Seeds = 1,
    batches: Annotated[int, typer.Option(min=1, help="Fixed training batches to look at, at each checkpoint.")] = 1,
    preset: Annotated[
        str, typer.Option(help="digits; small: ResNet-20 and a ViT on one core; cifar10: for a device.")
    ] = "digits",
) -> Study:
    """How far each approximation of the Fisher information is from the exact one along real training, and what it costs."""
    from dataclasses import replace

    from ..common.named import named
    from .config import PRESETS
    from .study import Frontier

    config = named("preset", preset, PRESETS)()
    return Frontier(replace(config, seeds=tuple(range(seeds)), looks=replace(config.looks, batches=batches)))
