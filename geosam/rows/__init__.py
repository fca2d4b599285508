"""The per-sample Jacobian as an operator: in memory, or in parts, each with the columns of some parameters.

Called by norms, engines, observation, metrics and testing.
Never imports problem: models and batches are unknown here.
"""

from .abstract import Pulled, Rows
from .materialised import Materialised
from .stacked import Stacked

__all__ = ["Materialised", "Pulled", "Rows", "Stacked"]
