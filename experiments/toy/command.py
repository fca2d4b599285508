"""The options of ``python -m experiments toy``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..common.cli import as_command
from ..common.study import Study


@as_command
def command(
    settings: Annotated[int, typer.Option(min=1, help="Random settings, for each loss and design.")] = 27_000,
    seeds: Annotated[int, typer.Option(min=1, help="Pieces that these come in, each with a record of its own.")] = 12,
    grid: Annotated[int, typer.Option(min=2, help="Starts along each side of the basin maps.")] = 48,
) -> Study:
    """Fisher SAM's toy in two parameters: its figures, and where six methods end from tens of thousands of settings."""
    from .config import Config
    from .study import Toy

    return Toy(Config(seeds=seeds, settings=settings, grid=grid))
