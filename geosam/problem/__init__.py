"""A model with its loss, bound to batches: per-sample losses, likelihoods, and the loss around θ.

Called by sampling, predictive, engines, observation, optim, measure and testing.
Never imports norms, metrics or solvers: geometries are unknown here.
"""

from .bound import Bound
from .problem import Problem
from .surface import Surface
from .together import Together

__all__ = ["Bound", "Problem", "Surface", "Together"]
