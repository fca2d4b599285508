"""Labels from the model's predictions: how the expectation over labels in a Fisher matrix is computed.

Called by predictive, engines, observation and metrics.
Never imports any of these, nor a model: from problem only the likelihoods; outputs go in, cotangents come out.
"""

from .abstract import Empirical, Sampling
from .exact import Exact
from .monte_carlo import MonteCarlo

__all__ = ["Empirical", "Exact", "MonteCarlo", "Sampling"]
