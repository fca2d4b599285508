"""The options of ``python -m experiments report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..common.cli import as_command
from ..common.files import ROOT
from ..common.study import Whole

Records = Annotated[Path, typer.Option(help="Folder with a folder of each study: experiments/records, runs.")]


@as_command
def command(records: Records = ROOT / "experiments" / "records") -> Whole:
    """All studies on one page, each with its figure, table and verdict, and the claims that they decide. Trains nothing."""
    from .study import Everything

    return Everything(records)
