"""From the options of a study to its command. Imports neither torch nor any study, so that ``--help`` is quick."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..data.folder import Missing
from .files import ROOT
from .study import Study, Whole

Seeds = Annotated[int, typer.Option(min=1, help="Paired seeds 0, 1, ...")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Run everything again.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")]
Out = Annotated[Path, typer.Option(help="Directory of records, figures and report.")]
Picture = Annotated[Path | None, typer.Option(help="Also write the overview figure here (PNG).")]


def as_command(options: Callable[..., Study | Whole]) -> Callable[..., None]:
    """The command of a study, from the function that makes the study of its own options.

    Its default folder is ``runs/<study>``, after the package that the function is in; its docstring is the help.
    ``command.study`` is the function itself.
    """
    name = options.__module__.split(".")[-2]

    def command(out: Path, fresh: bool, workers: int, figure: Path | None, **own: Any) -> None:
        from .runner import carry_out, keep

        console = Console(highlight=False)
        try:
            study = options(**own)
            carry = study.carry_out if isinstance(study, Whole) else partial(carry_out, study)
            page = carry(out, workers=workers, fresh=fresh, figure=figure, console=console)
        except Missing as error:
            console.print(f"[red]{error}[/]", soft_wrap=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            console.print("\nInterrupted. Finished runs have their records; the same command goes on from there.")
            raise typer.Exit(130) from None
        if page is None:
            raise typer.Exit(1)
        if page.suffix == ".html":
            keep(page.parent, own)

    shared = {"out": (Out, ROOT / "runs" / name), "fresh": (Fresh, False), "workers": (Workers, 2)}
    parameters = [
        *(Parameter(key, Parameter.KEYWORD_ONLY, annotation=kind, default=value) for key, (kind, value) in shared.items()),
        *(p.replace(kind=Parameter.KEYWORD_ONLY) for p in inspect.signature(options, eval_str=True).parameters.values()),
        Parameter("figure", Parameter.KEYWORD_ONLY, annotation=Picture, default=None),
    ]
    command.__doc__ = options.__doc__
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.study = options  # type: ignore[attr-defined]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command
