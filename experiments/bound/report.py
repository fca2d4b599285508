"""The page, and the table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.table import Table as Shown

from geosam.ablation.report import Page, Picture, Section, Table
from geosam.records import Record

from .figures import draw
from .result import Outcome
from .summary import HEAD, Summary

WORDS = "A row a model and method, a point a run. Right of 1 a bound says nothing of a zero-one loss."


def page(s: Summary, records: Sequence[Record[Outcome]]) -> Page:
    """Losses and bounds, and what they are worth."""
    n = records[0].result.samples
    lead = f"Models trained on n = {n} digits, and both theorems at δ = {s.config.delta}: {len(records)} runs."
    shown = Shown(*HEAD)
    for row in s.rows:
        shown.add_row(*row)
    numbers = Table("Zero-one losses, means over seeds, and bounds.", HEAD[:-1], [row[:-1] for row in s.rows])
    worth = Table("What each bound is worth.", [HEAD[0], HEAD[-1]], [[row[0], row[-1]] for row in s.rows])
    return Page(
        "What the PAC-Bayes bounds say",
        lead,
        Picture("bound", WORDS, partial(draw, s)),
        worth,
        sections=[Section("Losses and bounds", [numbers, *s.notes])],
        said=[shown, *s.notes],
    )
