"""Per-sample quantities layer by layer, from one forward pass and one backward pass to the activations.

Called by the other engines and their users, as ``Hooks``.
Never imports kfac or backpack, observation or metrics.
"""

from .engine import Hooks

__all__ = ["Hooks"]
