"""A small table that prints well in a terminal, with rich, in a notebook, and becomes a data frame."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core import extra


@dataclass(frozen=True)
class Table:
    """Words in rows under a head; the first column is left-aligned, as names are."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        table = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = (zip(row, widths, strict=True) for row in table)
        return "\n".join("  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(line)).rstrip() for line in lines)

    def html(self) -> str:
        """The table for a notebook."""

        def line(cells: Sequence[str], tag: str) -> str:
            sides = ("right" if i else "left" for i in range(len(cells)))
            made = (f'<{tag} style="text-align:{s}">{html.escape(c)}</{tag}>' for c, s in zip(cells, sides, strict=True))
            return f"<tr>{''.join(made)}</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        return f"<table><thead>{line(self.head, 'th')}</thead><tbody>{body}</tbody></table>"

    def rich(self) -> Any:
        """The same for rich, which is asked for only where it prints."""
        from rich.table import Table as Rich

        made = Rich(*self.head)
        for i, column in enumerate(made.columns):
            column.justify = "right" if i else "left"
        for row in self.rows:
            made.add_row(*row)
        return made


class Tabled(ABC):
    """A base of what prints as tables, and can be a data frame. Implement ``tables`` and ``records``."""

    @abstractmethod
    def tables(self) -> list[Table]:
        """Its tables, in the order of printing."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """Its numbers, a mapping a row."""

    def to_pandas(self) -> Any:
        """A pandas data frame of ``records``."""
        with extra("ablation", "data frames need pandas"):
            import pandas
        return pandas.DataFrame(self.records())

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.tables()))

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables())

    def __rich__(self) -> Any:
        from rich.console import Group

        return Group(*(table.rich() for table in self.tables()))


def shown(value: Any, form: str = "{:.3g}") -> str:
    """A number in few digits, a dash for what is not known."""
    return "-" if value is None else form.format(value)
