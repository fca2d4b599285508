"""The public law suite: is your geometry what it says it is?

>>> from geosam.testing import check_metric, check_norm
>>> check_norm(MyNorm(...))      # any geosam.Norm, or a Hypothesis strategy of norms
>>> check_metric(MyMetric())     # any geosam.Metric, on drawn models and batches or on your own problem.on(x, y)

Each raises an AssertionError that names the law and the numbers, on the smallest case that Hypothesis finds.
"""

try:
    import hypothesis as hypothesis
except ImportError as error:
    raise ImportError(
        "geosam.testing draws its cases with Hypothesis, which is not installed: pip install hypothesis"
    ) from error

from . import laws, strategies
from .check import LawViolation, check_metric, check_norm, check_objective

__all__ = ["LawViolation", "check_metric", "check_norm", "check_objective", "laws", "strategies"]
