"""A report: one HTML file that needs nothing else, and what every report has in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from ...records import Record, commit, write
from .style import styled

DPI = 160


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of each row is its header. caption: below the table."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def png(figure: Figure, path: Path) -> None:
    """Save a figure for use elsewhere."""
    write(path, _rendered(figure, "png"))


def saved(figure: Figure, out: Path, name: str) -> Path:
    """As a PNG in ``out/figures``, where all pictures of a study are."""
    path = out / "figures" / f"{name}.png"
    png(figure, path)
    return path


def write_page(path: Path, template: Path, images: Mapping[str, Figure], raster: Sequence[str] = (), **context: Any) -> Path:
    """Save the images beside the page, and render a template that extends ``page.html.j2``.

    raster: images of so many marks that pixels are smaller than lines.
    """
    files = {name: saved(picture, path.parent, name) for name, picture in images.items()}
    loader = jinja2.FileSystemLoader([template.parent, Path(__file__).parent])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = {
        name: _uri(files[name].read_bytes(), "png") if name in raster else _uri(_rendered(picture, "svg"), "svg+xml")
        for name, picture in images.items()
    }
    write(path, environment.get_template(template.name).render(images=shown, **context).encode())
    return path


def provenance_table(records: Sequence[Record[Any]]) -> Table:
    """Commit, versions and device of the records, and whether all have the same commit."""
    origins = [record.provenance for record in records]
    commits = sorted({o.commit or "no git checkout" for o in origins})
    rows = [
        ["commit of the records", ", ".join(commits) + (" – more than one" if len(commits) > 1 else "")],
        ["commit of this report", commit() or "no git checkout"],
        ["device", "; ".join(sorted({f"{o.device}, {o.threads} thread a run" for o in origins}))],
        *([name, ", ".join(sorted({o.versions[name] for o in origins}))] for name in origins[0].versions),
        ["finished", f"{min(o.finished for o in origins)} to {max(o.finished for o in origins)}"],
        ["record keys", " ".join(record.key for record in records)],
    ]
    return Table("Where the records come from.", ["what", "value"], rows)


def _rendered(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=form, dpi=DPI, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
