"""Pages of the theory, written from its files at build time: the ledger, and for each theorem what it claims and proves."""

from pathlib import Path

from matplotlib.figure import Figure

from experiments.claims.study import Claims
from experiments.common.files import ROOT
from theory import ledger
from theory.invariance import table
from theory.ledger import Entry, Row

INSTANCES = 10
RECORDS = ROOT / "experiments" / "records"
CODE = Path(ledger.__file__).parent


def write(app) -> None:
    """Decide every claim and write ``theory/*.md`` with its figures into the documentation's source directory."""
    folder = Path(app.srcdir) / "theory"
    folder.mkdir(exist_ok=True)
    rows = {entry.id: ledger.decide(entry, ledger.seeds(entry.claim, INSTANCES)) for entry in ledger.entries()}
    replace(folder / "index.md", index(rows))
    for name in ledger.theorems():
        picture(folder / f"{slug(name)}.png", name)
        replace(folder / f"{slug(name)}.md", page(name, rows))


def slug(name: str) -> str:
    return name.replace(".", "-").replace("_", "-")


def replace(path: Path, text: str) -> None:
    """Write where something changed, so that a second build has nothing to do."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def picture(path: Path, name: str) -> None:
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    ledger.theorems()[name].draw(figure.add_subplot())
    figure.savefig(path, dpi=130, metadata={"Software": None})


def index(rows: dict[str, Row]) -> str:
    """Every claim in a line, the invariance table, and the list of pages."""
    lines = [
        "# Theory that runs",
        "",
        "Every mathematical claim of the papers with the verdict that a run of its check established"
        f" ({INSTANCES} random instances a claim here; `python -m theory --deep` takes 10,000, and `--altered` shows that each"
        " check refuses a claim that was deliberately altered).",
        "",
        "| id | claim, and what is true instead | verdict | worst error | cases |",
        "|---|---|---|---|---|",
    ]
    pages: dict[str, list[str]] = {}
    for entry in ledger.entries():
        name = entry.theorem.__name__.removeprefix("theory.")
        pages.setdefault(slug(name), []).append(entry.id)
        if entry.theorem is table:  # a table of its own below
            continue
        verdict = rows[entry.id].verdict
        claim = cell(entry.claim.text) + (f"<br>*correct:* {cell(entry.claim.correction)}" if entry.claim.correction else "")
        link = f"[{entry.id}]({slug(name)}.md)"
        lines.append(f"| {link} | {claim} | {verdict.outcome.value} | {verdict.worst_error:.2g} | {verdict.cases} |")
    lines += ["", "## Invariance", "", "Does ε\\* transform as a tangent vector under …? As a run finds it:", ""]
    lines += [f"| ε\\* of | {' | '.join(table.COLUMNS)} |", "|---" * (len(table.COLUMNS) + 1) + "|"]
    lines += [f"| {cell(row.title)} | {' | '.join(c.answer for c in row.cells.values())} |" for row in table.rows()]
    lines += ["", *networks()]
    tree = [f"{'Invariance' if ids[0].startswith('I.') else ', '.join(ids)} <{page}>" for page, ids in pages.items()]
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *tree, "```", ""])


def networks() -> list[str]:
    """What records decide, a line a claim and run."""
    lines = [
        "## Networks",
        "",
        "Claims about trained networks, decided from `experiments/records` by rules that were fixed before the runs, at the"
        " size that was run. `python -m experiments claims` prints the parts; [the paper's figures](../figures.md).",
        "",
        "| id | claim | verdict | at |",
        "|---|---|---|---|",
    ]
    for claim, run, verdict, _ in Claims(RECORDS).rows():
        lines.append(f"| {claim.id} | {cell(claim.says)} | {verdict.outcome}: {cell(verdict.why)} | {cell(run)} |")
    return lines


def page(name: str, rows: dict[str, Row]) -> str:
    """One theorem: its claims typeset with their verdicts, the derivation, what SymPy proved, the figure and the code."""
    theorem = ledger.theorems()[name]
    title = plain(theorem.__doc__.partition("\n")[0])
    parts = [f"# {title}", f"![{cell(theorem.draw.__doc__ or title)}]({slug(name)}.png)"]
    parts += [text for entry in ledger.entries(theorem.CLAIMS) for text in section(entry, rows[entry.id])]
    parts += ["## Derivation", f"```{{eval-rst}}\n.. automodule:: theory.{name}\n   :no-members:\n   :no-index:\n```"]
    parts += ["## Proved symbolically", "By `derive()`, which raises if SymPy does not reduce left − right to zero:"]
    parts += [display(formula) for formula in theorem.derive()]
    source = Path(theorem.__file__).relative_to(CODE.parent)
    parts += ["## Code", f"```{{literalinclude}} ../../{source}\n:language: python\n```"]
    return "\n\n".join(parts) + "\n"


def section(entry: Entry, row: Row) -> list[str]:
    claim, verdict = entry.claim, row.verdict
    parts = [f"## {entry.id}: {verdict.outcome.value}", f"**{plain(claim.source)}.** {plain(claim.text)}", display(claim.tex)]
    if claim.correction:
        parts += [f"**Correct:** {plain(claim.correction)}", display(claim.correction_tex) if claim.correction_tex else ""]
    numbers = f"{row.instances} instances, {verdict.cases} cases, worst error {verdict.worst_error:.3g}."
    if verdict.counterexample:
        numbers += f" Counterexample: `{verdict.counterexample}`"
    if claim.smallest is not None:
        numbers += f"\n\nThe smallest that Hypothesis finds:\n\n```text\n{claim.smallest}\n```"
    return [*parts, numbers]


def display(tex: str) -> str:
    return f"$$\n{tex}\n$$"


def plain(text: str) -> str:
    """Unicode mathematics, not markup: nothing in it may start any."""
    for mark in "\\*_`[]<$":
        text = text.replace(mark, "\\" + mark)
    return text


def cell(text: str) -> str:
    return plain(text).replace("|", "\\|")
