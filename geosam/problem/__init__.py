"""A model with its loss, bound to batches: per-sample losses, likelihoods, and the loss around θ.

Engines, observations and measures call in. Nothing here knows of norms, metrics or solvers.
"""

from .bound import Bound
from .problem import Problem
from .surface import Surface

__all__ = ["Bound", "Problem", "Surface"]
