"""Measures of a geometry at one batch: comparisons, matched radii, sharpness.

Called by users only.
Never imports optim, metrics or testing; parameters, buffers and the random state are unchanged.
"""

from .ascend import ascend
from .calibrate import KL, Length, Match, Rise, calibrate
from .compare import compare
from .comparison import Comparison, Row
from .rises import Sharpness
from .sharpness import sharpness

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
