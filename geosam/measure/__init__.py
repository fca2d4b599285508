"""Measures of a geometry at one batch: comparisons, matched radii, sharpness.

Users call in. Everything is observed and solved through the rooms below, and nothing is changed.
"""

from .ascend import ascend
from .calibrate import KL, Length, Match, Rise, calibrate
from .compare import Comparison, Row, compare
from .sharpness import Sharpness, sharpness

__all__ = [
    "KL",
    "Comparison",
    "Length",
    "Match",
    "Rise",
    "Row",
    "Sharpness",
    "ascend",
    "calibrate",
    "compare",
    "sharpness",
]
