"""Labels of the model's own: how the expectation over labels in a Fisher matrix is taken.

Engines, observations and metrics call in. Nothing here knows of models: outputs go in, cotangents come out.
"""

from .abstract import Empirical, Sampling
from .exact import Exact
from .monte_carlo import MonteCarlo

__all__ = ["Empirical", "Exact", "MonteCarlo", "Sampling"]
