"""Objectives: the field θ ↦ the covector c that ε* ascends. One file each.

Optimizer and measures call in. An objective reads an observation and its own memory, and nothing else.
"""

from .eigen import Eigen
from .gradient import Gradient
from .noise_weighted import NoiseWeighted
from .preconditioned import Preconditioned
from .residual import Residual
from .smoothed import Smoothed

__all__ = ["Eigen", "Gradient", "NoiseWeighted", "Preconditioned", "Residual", "Smoothed"]
