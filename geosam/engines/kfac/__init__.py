"""Kronecker factors (KFAC), from curvlinops: which parameters they cover, and the factors.

Called by observation and metrics.
Never imports either; curvlinops is imported at first use only.
"""

from .factors import KFAC

__all__ = ["KFAC"]
