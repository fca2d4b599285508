"""The smallest study: one function of a configuration, run for each, and a table of what it returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from pydantic import RootModel

from geosam.ablation.report import Page, Picture, Table
from geosam.records import Finished

from .study import Part


class Case:
    """Base of a job, a frozen dataclass with a field ``seed``; its title is its fields."""

    @property
    def title(self) -> str:
        """ "name value", for each field."""
        return ", ".join(f"{f.name} {getattr(self, f.name)}" for f in fields(self))  # type: ignore[arg-type]


class Numbers(RootModel[dict[str, float]]):
    """What a job found out, by name."""


@dataclass(frozen=True)
class Sweep:
    """``work(case)`` for every case. about: what is run, in a sentence. One type of case; ``work`` is a module's.

    The page has a panel for each number (``shown``: only for these), a point a case over the cases' first field, and a table.
    """

    title: str
    about: str
    cases: Sequence[Any]
    work: Callable[[Any], Mapping[str, float]]
    shown: Sequence[str] = ()

    def parts(self) -> list[Part[Numbers]]:
        """A job a case."""
        return [Part(self.cases, partial(_numbers, self.work), Numbers)]

    def page(self, finished: Finished) -> Page:
        """The panels and the table."""
        found = [(case, record.result.root) for case, record in finished.of(type(self.cases[0]))]
        settings, numbers = [f.name for f in fields(self.cases[0])], list(found[0][1])
        rows = [[*(str(getattr(case, s)) for s in settings), *(f"{values[n]:.4g}" for n in numbers)] for case, values in found]
        picture = Picture(
            "overview", f"A point a run, over {settings[0]}.", partial(_panels, found, settings[0], self.shown or numbers)
        )
        return Page(self.title, self.about, picture, Table("All runs.", settings + numbers, rows))


def _panels(found: Sequence[tuple[Any, Mapping[str, float]]], setting: str, numbers: Sequence[str]) -> Figure:
    figure = Figure(figsize=(3.2 * len(numbers), 3))
    for axes, number in zip(figure.subplots(1, len(numbers), squeeze=False)[0], numbers, strict=True):
        axes.plot([_plain(getattr(case, setting)) for case, _ in found], [values[number] for _, values in found], "o")
        axes.set(xlabel=setting, ylabel=number)
    return figure


def _numbers(work: Callable[[Any], Mapping[str, float]], case: Any) -> Numbers:
    return Numbers(dict(work(case)))


def _plain(value: Any) -> Any:
    """Numbers on a number axis; anything else by its name."""
    return value if isinstance(value, int | float) else str(value)
