"""How pages and figures look: one type size, thin lines, colour only where it says something, and each colour after dark."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl

INK, QUIET, RULE, PAPER = "#1f2430", "#5b6370", "#d9dce3", "#ffffff"

DARK = {
    INK: "#e6e9ef",
    QUIET: "#a3acb9",
    RULE: "#363d49",
    PAPER: "#14171d",
    "#f6f7f9": "#1d222b",
    "#b83548": "#f0808f",
    "#d1495b": "#f0808f",
    "#2a6f97": "#66b2dc",
    "#6a994e": "#93c572",
    "#8d6a9f": "#bd9ccd",
    "#e09f3e": "#e9b566",
    "#468faf": "#7dbfd9",
    "#9aa1ad": "#8b93a0",
    "#bc6c25": "#dd9450",
    "#386641": "#6fae7c",
    "#5f0f40": "#c9649c",
    "#0072b2": "#4fa9e0",
    "#b36b00": "#e3a03c",
    "#00795a": "#35b891",
    "#c1440e": "#ee7f50",
    "#b4b9c3": "#4d5562",
    "#3c3c3c": "#c4c7cc",
    "#dcdcdc": "#555b66",
    "#d62728": "#f26d6d",
}
"""Colours of text, lines and marks by day ↦ the same on a dark page. A figure may use others: these stay as they are."""

SMALLEST = 8.5  # points: 11.3 pixels of a page

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": SMALLEST,
    "figure.labelsize": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}


def styled() -> AbstractContextManager[None]:
    """A context in which figures are drawn."""
    return mpl.rc_context(RC)
