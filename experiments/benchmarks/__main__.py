"""``python -m experiments.benchmarks``: the same as ``python -m experiments benchmarks``."""

import typer

from .command import command

if __name__ == "__main__":
    typer.run(command)
