"""The options of ``python -m experiments bound``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..common.cli import Seeds, as_command
from ..common.study import Study


@as_command
def command(
    seeds: Seeds = 2,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of every run.")] = 16,
    delta: Annotated[float, typer.Option(help="The probability with which the bound may fail.")] = 0.05,
) -> Study:
    """What Fisher SAM's generalisation bound is worth on real runs, with its constants, beside SAM's own."""
    from .config import Config, Training
    from .study import Bound

    return Bound(Config(seeds=seeds, training=Training(epochs=epochs), delta=delta))
