"""Decide the ledger's claims over several processes, prove the derivations, and print what came out."""

from collections.abc import Iterable, Iterator

import joblib
from rich.console import Console
from rich.progress import track

from theory import ledger, report
from theory.invariance import table
from theory.ledger import Entry, Row

CHUNK = 250


def run(ids: Iterable[str], instances: int, altered: bool, jobs: int) -> int:
    """The exit status: 0 if each verdict is the one that its file states (altered: is not), 1 if not, 2 for an unknown id."""
    console = Console(highlight=False)
    try:
        chosen = ledger.entries(ids)
    except LookupError as unknown:
        console.print(f"[red]{unknown.args[0]}[/]")
        return 2
    jobs = jobs or joblib.cpu_count()
    rows = decide(chosen, instances, altered, jobs, console)
    proofs = prove(chosen, jobs)
    wrong = [entry.id for entry in chosen if not ledger.agrees(entry, rows[entry.id], altered)]
    console.print(report.ledger(chosen, rows, altered))
    if not altered and any(entry.theorem is table for entry in chosen):
        console.print(report.invariance())
    console.print(report.summary(chosen, rows))
    console.print(
        f"{len(chosen)} claims, {proofs} identities proved symbolically, "
        f"{sum(row.verdict.cases for row in rows.values()):,} cases, {sum(row.seconds for row in rows.values()):.1f} s"
    )
    if wrong:
        what = "an altered claim was not judged otherwise" if altered else "another verdict than the file states"
        console.print(f"[red]{what}: {', '.join(wrong)}[/]")
    return 1 if wrong else 0


def decide(chosen: list[Entry], instances: int, altered: bool, jobs: int, console: Console) -> dict[str, Row]:
    """Every entry's row, its seeds in pieces over the processes."""
    pieces = [(entry, seeds) for entry in chosen for seeds in ledger.chunks(entry, instances, CHUNK)]
    tasks = (joblib.delayed(ledger.piece)(entry.theorem.__name__, entry.id, seeds, altered) for entry, seeds in pieces)
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        done: Iterator[Row] = joblib.Parallel(return_as="generator_unordered")(tasks)
        rows: dict[str, Row] = {}
        for row in track(done, "deciding", len(pieces), console=console, transient=True):
            rows[row.id] = rows[row.id] + row if row.id in rows else row
    return rows


def prove(chosen: list[Entry], jobs: int) -> int:
    """How many identities the theorems' derivations prove; a derivation that fails raises."""
    names = dict.fromkeys(entry.theorem.__name__ for entry in chosen)
    return sum(joblib.Parallel(n_jobs=jobs)(joblib.delayed(ledger.identities)(name) for name in names))
