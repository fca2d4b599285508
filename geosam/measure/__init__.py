"""Measures of a geometry at one batch: comparisons, matched radii, sharpness.

Called by users only.
Never imports optim, metrics or testing; parameters, buffers and the random state are unchanged.
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
