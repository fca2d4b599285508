"""``python -m experiments <study>``: run what has no record yet, then report from the records."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec

import typer

PACKAGE = "experiments"


def command_line() -> typer.Typer:
    """A command for every folder that has a file ``command.py``, after which it is named."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(studies)
    for folder in sorted(entry.name for entry in pkgutil.iter_modules(import_module(PACKAGE).__path__) if entry.ispkg):
        if find_spec(f"{PACKAGE}.{folder}.command"):
            app.command(folder)(import_module(f"{PACKAGE}.{folder}.command").command)
    return app


def studies() -> None:
    """Runnable studies. Each run leaves one record, and a second call uses the records that are there."""


if __name__ == "__main__":
    command_line()(prog_name=f"python -m {PACKAGE}")
