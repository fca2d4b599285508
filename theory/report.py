"""The ledger and the invariance table, printed."""

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from theory.invariance.table import COLUMNS, rows
from theory.ledger import Entry, Row
from theory.verdict import Outcome

COLOURS = {Outcome.HOLDS: "green", Outcome.CORRECTED: "yellow", Outcome.FAILS: "red", Outcome.UNDECIDED: "magenta"}
ANSWERS = {"yes": "[green]✓[/]", "outputs": "[yellow]~[/]", "no": "[red]✗[/]", "none": "[dim]∅[/]"}


def ledger(chosen: Sequence[Entry], found: dict[str, Row], altered: bool) -> Table:
    """What is claimed and what refutes it; the verdict with its worst error, cases and time."""
    title = "Altered claims: each must be judged otherwise than the claim" if altered else None
    table = Table("id", "claim", "verdict", title=title, show_lines=True)
    table.columns[0].no_wrap, table.columns[1].ratio, table.columns[2].min_width = False, 1, 23
    for entry in chosen:
        row, claim = found[entry.id], entry.claim
        left = [escape(claim.text), f"[dim]{escape(claim.source)}[/]"]
        if claim.correction and not altered:
            left.append(f"[yellow]correct:[/] {escape(claim.correction)}")
        if row.verdict.counterexample:
            left.append(f"[cyan]counterexample:[/] {escape(row.verdict.counterexample)}")
        if row.verdict.missing:
            left.append(f"[magenta]missing:[/] {escape(row.verdict.missing)}")
        right = [f"[{COLOURS[row.verdict.outcome]}]{row.verdict.outcome.value}[/]"]
        if altered:
            right.append(f"[dim](itself {claim.outcome.value})[/]")
        right.append(f"worst error {row.verdict.worst_error:.2g}")
        right.append(f"{row.verdict.cases:,} cases, {row.seconds:.1f} s")
        table.add_row(entry.id, "\n".join(left), "\n".join(right))
    return table


def summary(chosen: Sequence[Entry], found: dict[str, Row]) -> str:
    """How many claims have each verdict, and which."""
    ids = {outcome: [entry.id for entry in chosen if found[entry.id].verdict.outcome is outcome] for outcome in Outcome}
    return "\n".join(
        f"[{COLOURS[outcome]}]{outcome.value}[/] {len(those)}: {', '.join(those)}" for outcome, those in ids.items() if those
    )


def invariance() -> Table:
    """Each geometry under each kind of map, as a run finds it."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, title="Does ε* transform as a tangent vector under …?")
    table.add_column("id", no_wrap=True)
    table.add_column("ε* of", overflow="fold")
    for column in COLUMNS:
        table.add_column(column, justify="center", no_wrap=True)
    for row in rows():
        table.add_row(row.id, row.title, *(ANSWERS.get(cell.answer, cell.answer) for cell in row.cells.values()))
    table.caption = "~ only what ε* does to the outputs is determined, and that transforms. ∅ there is no argmax."
    return table
