"""The options of ``python -m experiments overhead``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..common.cli import as_command
from ..common.options import Device
from ..common.study import Study

Preset = Annotated[str, typer.Option(help="small and medium, for one core; as published: wrn28-10, for a device.")]
Rounds = Annotated[int | None, typer.Option(min=6, help="Steps of each method that are timed; by default the preset's.")]
Quick = Annotated[bool, typer.Option("--quick", help="Only show that it runs: the smallest network.")]


@as_command
def command(preset: Preset = "small", rounds: Rounds = None, device: Device = "cpu", quick: Quick = False) -> Study:
    """Time steps of SAM, ASAM, Fisher SAM and Monge SAM side by side (section 5.7 of Fisher SAM)."""
    from .study import study

    return study(preset, rounds, device, quick)
