"""``python -m experiments <study>``: run what has no record yet, then report from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .provenance import ROOT

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def studies() -> None:
    """Runnable studies. Each run leaves one record, and a second call uses the records that are there."""


@app.command()
def compare(
    out: Annotated[Path, typer.Option(help="Directory of records, figures and report.")] = ROOT / "runs" / "compare",
    fresh: Annotated[bool, typer.Option("--fresh", help="Run everything again.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")] = 2,
    seeds: Annotated[int, typer.Option(min=1, help="Paired seeds 0, 1, ...")] = 3,
    epochs: Annotated[int, typer.Option(min=3, help="Epochs of every method, two of them warm-up.")] = 24,
    label_noise: Annotated[float, typer.Option(min=0, max=1, help="Part of the training labels that is wrong.")] = 0.3,
    kl: Annotated[float, typer.Option(help="KL that all radii are calibrated to, in nats.")] = 0.02,
    figure: Annotated[Path | None, typer.Option(help="Also write the overview figure here (PNG).")] = None,
) -> None:
    """Train a small CNN in many geometries at matched KL, and show what each does to the perturbation."""
    from .compare import study
    from .compare.config import Calibration, Study, Training

    config = Study(
        seeds=tuple(range(seeds)),
        training=Training(epochs=epochs, label_noise=label_noise),
        calibration=Calibration(kl=kl),
    )
    console = Console(highlight=False)
    try:
        page = study.run(config, out, workers=workers, fresh=fresh, figure=figure, console=console)
    except KeyboardInterrupt:
        console.print("\nInterrupted. Finished runs have their records; the same command goes on from there.")
        raise typer.Exit(130) from None
    if page is None:
        raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="python -m experiments")
