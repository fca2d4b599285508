"""The options of ``python -m experiments claims``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..common.cli import as_command
from ..common.files import ROOT
from ..common.study import Whole

Records = Annotated[Path, typer.Option(help="Folder with the records of classify, noise and fast: experiments/records, runs.")]


@as_command
def command(records: Records = ROOT / "experiments" / "records") -> Whole:
    """Verdicts on F10, F13, F16, F20 and P2 from records, at the size that was run. Trains nothing."""
    from .study import Claims

    return Claims(records)
