"""A figure in two layouts, as lines in a page, and as files beside it.

Each is shown at the size it was drawn at or larger, so that its type stays legible: the narrow one wherever the wide one does
not fit.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter

from .style import DARK, SMALLEST, styled

DPI = 160
NARROW = 3.4  # inches: 326 pixels, what a telephone leaves


@dataclass(frozen=True)
class Picture:
    """name: of its files. words: how to read it. draw: makes the figure.

    narrow: the same for a narrow screen; by default its panels are put below each other.
    """

    name: str
    words: str
    draw: Callable[[], Figure]
    narrow: Callable[[], Figure] | None = None

    def figures(self) -> dict[str, Figure]:
        """By layout, with type that is not too small."""
        with styled():
            narrow = rearranged(self.draw()) if self.narrow is None else self.narrow()
            return {"wide": legible(self.draw()), "narrow": legible(narrow)}


def rendered(figure: Figure, form: str, salt: str = "geosam") -> bytes:
    """The bytes of a file, the same for the same figure."""
    buffer = io.BytesIO()
    date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
    with styled(), mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format=form, dpi=DPI, metadata=date)
    return buffer.getvalue()


def inline(figure: Figure, salt: str) -> str:
    """SVG without what a page has already. salt: two pictures of a page must not share the names of their parts."""
    text = rendered(figure, "svg", salt).decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[max(0, text.find("<svg")) :], flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    return re.sub("|".join(DARK), lambda found: f"var(--c{found[0][1:]}, {found[0]})", text)


def legible(figure: Figure) -> Figure:
    """No type below ``SMALLEST``, powers of ten without raised digits."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for text in figure.findobj(Text):
        text.set_fontsize(max(SMALLEST, text.get_fontsize()))
    return figure


def rearranged(figure: Figure) -> Figure:
    """Its panels in as many columns as ``NARROW`` inches hold, long names above their rows, and no line wider than all."""
    for axes in [axes for axes in figure.axes if not axes.get_visible()]:
        axes.remove()
    panels = [axes for axes in figure.axes if axes.get_subplotspec() is not None]
    rows, columns, *_ = cast(Any, panels[0]).get_subplotspec().get_geometry() if panels else (1, 1)
    width, height = figure.get_size_inches()
    fit = max(1, min(columns, round(NARROW * columns / width)))
    grid: Any = GridSpec(math.ceil(len(panels) / fit), fit, figure)
    above = [_names_above(axes) if fit == 1 else 0.0 for axes in panels]
    for place, axes, grown in zip(grid, panels, above, strict=False):
        axes.set_subplotspec(place)
        axes.tick_params(labelbottom=True, labelleft=place.colspan.start == 0 and not grown)
    figure.set_size_inches(NARROW, height / rows * math.ceil(len(panels) / fit) + sum(above) + 0.25 * len(figure.legends))
    letters = int(NARROW * 72 / (0.7 * SMALLEST))
    for text in figure.findobj(Text):
        if text.get_rotation() == 0 and "$" not in text.get_text():
            text.set_text("\n".join(textwrap.fill(line, letters // fit) for line in text.get_text().split("\n")))
    for legend in list(figure.legends):
        handles: Any = legend.legend_handles
        names = [text.get_text() for text in legend.get_texts()]
        columns = max(1, letters // (max(map(len, names), default=1) + 7))
        figure.legend(handles, names, loc="outside upper left", ncols=columns, frameon=False)
        legend.remove()
    return figure


def _names_above(axes: Axes) -> float:
    """Long names of rows go into the panel, each above its row. By how many inches the panel grows."""
    ticks, formatter = axes.yaxis.get_major_locator(), axes.yaxis.get_major_formatter()
    names = formatter.format_ticks(list(ticks())) if isinstance(ticks, FixedLocator) else []
    if max(map(len, names), default=0) <= 12:
        return 0.0
    to_edge = axes.get_yaxis_transform()
    for at, name in zip(ticks(), names, strict=True):
        axes.annotate(name, (0, at), xytext=(2, 9), xycoords=to_edge, textcoords="offset points", va="center")
    return 0.14 * len(names)
