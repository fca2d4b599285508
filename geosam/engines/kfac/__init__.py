"""Kronecker factors (KFAC), from curvlinops: which parameters they cover, and the factors."""

from .factors import KFAC

__all__ = ["KFAC"]
