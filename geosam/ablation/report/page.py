"""A page: one HTML file that needs nothing else, with its pictures beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from ...records import Record, commit, fingerprint, write, write_json
from .content import Block, Page, Section, Shown, Table
from .picture import Picture, inline, rendered
from .style import DARK

GUTTER = 36  # pixels at the sides of a page


def write_page(path: Path, page: Page, shown: Shown) -> Path:
    """Write the page, its pictures as PNG and PDF into ``figures``, and what else lies beside it."""
    records = shown.records
    blocks = [*page.short, *(block for section in page.sections for block in section.blocks)]
    lines = {}
    for picture in (block for block in blocks if isinstance(block, Picture)):
        figures = picture.figures()
        lines[picture.name] = {
            layout: (inline(figure, f"{picture.name}-{layout}"), 96 * figure.get_figwidth())
            for layout, figure in figures.items()
        }
        for form in ("png", "pdf"):
            write(path.parent / "figures" / f"{picture.name}.{form}", rendered(figures["wide"], form))
    for name, content in page.beside.items():
        write_json(path.parent / name, content)
    spent = f"{len(records)} runs, {sum(record.seconds for record in records):.0f} s of one core together."
    origin: list[Block] = [provenance_table(records), spent] if records else []
    setup = Section("Setup", [*page.setup, *origin])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"marked": marked, "kind": lambda block: type(block).__name__, "anchor": anchor}
    text = environment.get_template("page.html.j2").render(
        page=page, sections=[*page.sections, setup], failed=list(shown.failed), lines=lines, dark=DARK, gutter=GUTTER
    )
    write(path, text.encode())
    return path


def provenance_table(records: Sequence[Record[Any]]) -> Table:
    """Commit, versions and device of the records, and whether all have the same commit."""
    origins = [record.provenance for record in records]
    keys = [record.key for record in records]
    commits = sorted({o.commit or "no git checkout" for o in origins})
    rows = [
        ["commit of the records", ", ".join(commits) + (" – more than one" if len(commits) > 1 else "")],
        ["commit of this report", commit() or "no git checkout"],
        ["device", "; ".join(sorted({f"{o.device}, {o.threads} thread a run" for o in origins}))],
        *([name, ", ".join(sorted({o.versions.get(name, "unknown") for o in origins}))] for name in origins[0].versions),
        ["finished", f"{min(o.finished for o in origins)} to {max(o.finished for o in origins)}"],
        ["record keys", " ".join(keys) if len(keys) <= 100 else f"{len(keys)}, together {fingerprint(keys)}"],
    ]
    return Table("Where the records come from.", ["what", "value"], rows)


def marked(text: str) -> str:
    """HTML of plain text with ``code`` and **bold**."""
    safe = re.sub(r"`+(.+?)`+", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", safe)


def anchor(title: str) -> str:
    """A name to link to."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")
