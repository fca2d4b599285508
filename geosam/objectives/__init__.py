"""Objectives: the field θ ↦ the covector c of ε* = argmax ⟨c, ε⟩. One file each.

Called by optim and measure.
Never imports metrics, solvers or optim: an objective reads an observation and its own memory only.
"""

from .eigen import Eigen
from .gradient import Gradient
from .noise_weighted import NoiseWeighted
from .preconditioned import Preconditioned
from .residual import Residual
from .smoothed import Smoothed

__all__ = ["Eigen", "Gradient", "NoiseWeighted", "Preconditioned", "Residual", "Smoothed"]
