"""Objectives: the field θ ↦ the covector c that ε* ascends. One file each."""

from .gradient import Gradient
from .smoothed import Smoothed

__all__ = ["Gradient", "Smoothed"]
