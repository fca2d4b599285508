"""The optimizer: a facade, one step's life, how parameters move and come back, and what the base optimizer is given.

Users call in. Everything below is used here; only measures and the public laws stand above.
"""

from . import updates
from .last import Last, Perturbed
from .move import Copy, Move, Swap
from .sam import SAM

__all__ = ["SAM", "Copy", "Last", "Move", "Perturbed", "Swap", "updates"]
