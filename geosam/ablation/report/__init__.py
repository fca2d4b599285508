"""Reports: one HTML file that needs nothing else, and what every report has in it.

Called by ablation and by studies. The only user of matplotlib and jinja2, which are imported when a report is made.
"""

from .page import Table, png, provenance_table, saved, write_page
from .plain import Picture, plain_report
from .style import INK, QUIET, RULE, styled

__all__ = [
    "INK",
    "QUIET",
    "RULE",
    "Picture",
    "Table",
    "plain_report",
    "png",
    "provenance_table",
    "saved",
    "styled",
    "write_page",
]
