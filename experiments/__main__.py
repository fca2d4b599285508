"""``python -m experiments <study>``: run what has no record yet, then report from the records."""

from __future__ import annotations

import typer

from .common.parts import PACKAGE, parts


def command_line() -> typer.Typer:
    """A command for every folder that has a file ``command.py``, after which it is named."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(studies)
    for folder, module in parts("command").items():
        app.command(folder)(module.command)
    return app


def studies() -> None:
    """Runnable studies. Each run leaves one record, and a second call uses the records that are there."""


if __name__ == "__main__":
    command_line()(prog_name=f"python -m {PACKAGE}")
