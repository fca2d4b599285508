"""The page of the zoo, written from its table at build time: tests hold every line of it, so that it cannot go stale."""

from __future__ import annotations

from pathlib import Path

from theory_pages import cell, replace

from tests.zoo.line import GROUPS, Line
from tests.zoo.table import FAMILIES, LINES

TITLES = {
    "gradient": "what needs the gradient alone",
    "distribution": "what needs the distribution",
    "samples": "what needs single samples",
}


def write(app) -> None:
    """``zoo.md`` in the documentation's source directory."""
    replace(Path(app.srcdir) / "zoo.md", page())


def page() -> str:
    """What is right, what is refused, why: a table a family."""
    whole = sum(not line.refused for line in LINES.values())
    lines = [
        "# What works and what is refused",
        "",
        f"The zoo: {len(LINES)} models and losses. On each, every quantity below equals a loop over single samples and dense"
        " matrices in float64: to 1e-9 relative, where the model is in float32 to 1e-5 (products and sharpness 1e-4). Or it is"
        f" refused, and the line has words of the reason. On {whole} lines nothing is refused."
        ' `make test ARGS="-m zoo"` runs all of it.',
        "",
        *(f"- {title}: {', '.join(GROUPS[group])}" for group, title in TITLES.items()),
        "- sharpness: the worst rise and the largest eigenvalue",
        "",
        "A metric stands for its ε\\*, ‘rows’ for the gradients of single samples.",
    ]
    for family in FAMILIES:
        title, _, text = (family.__doc__ or "").partition(":")
        lines += ["", f"## {title.strip().rstrip('.')}", "", text.strip()[:1].upper() + text.strip()[1:], ""]
        lines += ["| model, loss | right | refused |", "|---|---|---|", *map(row, family.LINES)]
    return "\n".join([*lines, ""])


def row(line: Line) -> str:
    """One line: how many quantities are right, and what is refused for which reason."""
    refused: dict[str, list[str]] = {}
    for quantity in line.only:
        if (reason := line.reason(quantity)) is not None:
            refused.setdefault(reason, []).append(quantity)
    right = len(line.only) - sum(map(len, refused.values()))
    told = "<br>".join(f"{short(names)}: “{cell(reason)}”" for reason, names in refused.items())
    return f"| {cell(line.name)} | {right} of {len(line.only)} | {told} |"


def short(names: list[str]) -> str:
    """The name of a group where they are one."""
    known = {frozenset(GROUPS[group]): title for group, title in {**TITLES, "all": "all"}.items()}
    return known.get(frozenset(names), ", ".join(names))
