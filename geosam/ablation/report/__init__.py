"""Reports: one HTML file that needs nothing else, and what every report has in it.

Called by ablation and by studies. The only user of matplotlib and jinja2, which are imported when a report is made.
"""

from .content import Block, Note, Page, Section, Shown, Table
from .page import write_page
from .picture import NARROW, Picture, inline, rendered
from .style import DARK, INK, PAPER, QUIET, RULE, styled

__all__ = [
    "DARK",
    "INK",
    "NARROW",
    "PAPER",
    "QUIET",
    "RULE",
    "Block",
    "Note",
    "Page",
    "Picture",
    "Section",
    "Shown",
    "Table",
    "inline",
    "rendered",
    "styled",
    "write_page",
]
