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
) -> Study:
    """How far each approximation of the Fisher information is from the exact one along real training, and what it costs."""
    from .config import Config, Looks
    from .study import Frontier

    return Frontier(Config(seeds=tuple(range(seeds)), looks=Looks(batches=batches)))
