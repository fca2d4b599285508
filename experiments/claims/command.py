"""The options of ``python -m experiments claims``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..common.cli import as_command
from ..common.files import ROOT
from ..common.study import Whole

Records = Annotated[Path, typer.Option(help="Folder with the records of all studies: experiments/records, runs.")]


@as_command
def command(records: Records = ROOT / "experiments" / "records") -> Whole:
    """Verdicts on the claims about networks from records, at the size that was run. Trains nothing."""
    from .study import Claims

    return Claims(records)
