"""The command of a study of ablations, whose options all of them share. Without torch, for ``--help``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer

from .cli import as_command
from .study import Whole


@dataclass(frozen=True)
class Options:
    """What the user asked for instead of a preset's own; None is the preset's."""

    data: str | None = None
    model: str | None = None
    metrics: tuple[str, ...] = ()
    seeds: int | None = None
    trials: int | None = None
    device: str = "cpu"
    quick: bool = False


Data = Annotated[str | None, typer.Option(help="Another data set than the preset's: a name, or module:name.")]
Model = Annotated[str | None, typer.Option(help="Another network than the preset's: a name, or module:name.")]
Metrics = Annotated[list[str] | None, typer.Option(help="A geometry of your own beside the rows: module:name.")]
Count = Annotated[int | None, typer.Option(min=1, help="Paired seeds 0, 1, ...; by default the preset's.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Tune every method in so many runs, published radii or not.")]
Device = Annotated[str, typer.Option(help="Where to train: cpu, cuda.")]
Quick = Annotated[bool, typer.Option("--quick", help="Only show that it runs: few seeds, epochs and samples, no tuning.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="List runs and time, and train nothing.")]


def table_command(module: str, about: str, preset: str, presets: str) -> Callable[..., None]:
    """Of the study whose ``presets.py`` lies beside ``module``. about: its help. preset: the default; presets: all of them."""
    folder = module.rpartition(".")[0]
    Preset = Annotated[str, typer.Option(help=presets)]

    def options(
        preset: Any = preset,
        data: Data = None,
        model: Model = None,
        metric: Metrics = None,
        seeds: Count = None,
        trials: Trials = None,
        device: Device = "cpu",
        quick: Quick = False,
        dry_run: Dry = False,
    ) -> Whole:
        from .ablations import study

        asked = Options(data, model, tuple(metric or ()), seeds, trials, device, quick)
        return study(import_module(f"{folder}.presets"), preset, asked, dry_run)

    options.__module__, options.__doc__ = module, about
    options.__annotations__["preset"] = Preset
    return as_command(options)
