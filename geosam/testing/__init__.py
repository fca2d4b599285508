"""The public law suite: does a geometry satisfy the laws of a norm, a metric or an objective?

>>> from geosam.testing import check_metric, check_norm
>>> check_norm(MyNorm(...))      # any geosam.Norm, or a Hypothesis strategy of norms
>>> check_metric(MyMetric())     # any geosam.Metric, on drawn models and batches or on your own problem.on(x, y)

Each raises an AssertionError that names the law and the numbers, on the smallest case that Hypothesis finds.
Called by users and by the tests of this library. Never imports optim or measure, and no other room imports it.
"""

try:
    import hypothesis as hypothesis
except ImportError as error:
    raise ImportError(
        "geosam.testing draws its cases with Hypothesis, which is not installed: pip install hypothesis"
    ) from error

import sys

from ..core import names
from . import laws, strategies
from .check import LawViolation, check_metric, check_norm, check_objective

__all__ = ["LawViolation", "check_metric", "check_norm", "check_objective", "laws", "strategies"]

names.show(sys.modules[__name__])
