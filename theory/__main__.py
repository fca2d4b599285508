"""``python -m theory``: decide the ledger's claims and print them; the exit status says whether each came out as stated."""

from typing import Annotated

import typer


def main(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Claims to decide, such as F2 or G1; all where none is named.")
    ] = None,
    instances: Annotated[int, typer.Option(min=1, help="Random instances a claim.")] = 10,
    deep: Annotated[bool, typer.Option("--deep", help="10,000 instances a claim.")] = False,
    altered: Annotated[
        bool, typer.Option("--altered", help="Run every check on its altered claim, which must not pass.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0 for one a core.")] = 0,
) -> None:
    """Decide the mathematical claims of the papers, and exit with 1 if a verdict is not the one that its file states."""
    from theory.run import run  # here, so that --help does not wait for SymPy, SciPy and PyTorch

    raise typer.Exit(run(ids or (), 10_000 if deep else instances, altered, jobs))


if __name__ == "__main__":
    typer.run(main)
