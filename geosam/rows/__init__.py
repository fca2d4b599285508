"""The per-sample Jacobian as an operator: held in memory, or dealt out to parts.

Norms and engines call in. Nothing here knows of models or batches: rows are tensors with an order.
"""

from .abstract import Pulled, Rows
from .materialised import Materialised
from .stacked import Stacked

__all__ = ["Materialised", "Pulled", "Rows", "Stacked"]
