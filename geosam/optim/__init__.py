"""The optimizer: a facade, one step, how parameters are displaced and restored, and what the base optimizer is given.

Called by users only.
Never imports measure or testing.
"""

from . import passes, schedules, updates
from .captured import Captured
from .last import Last, Perturbed
from .masters import Masters
from .move import Copy, Move, Swap
from .sam import SAM
from .watch import LongPerturbation, Standstill, Unperturbed, Unrealised

__all__ = [
    "SAM",
    "Captured",
    "Copy",
    "Last",
    "LongPerturbation",
    "Masters",
    "Move",
    "Perturbed",
    "Standstill",
    "Swap",
    "Unperturbed",
    "Unrealised",
    "passes",
    "schedules",
    "updates",
]
