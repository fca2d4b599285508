"""Engines: how per-sample quantities are computed. Same numbers, different cost.

Called by observation, with a bound problem: rows, moments and Kronecker factors come out; metrics hold an engine as a setting.
Never imports observation or metrics.
"""

from .abstract import Captured, Choice, Draw, Engine, Moments
from .auto import Auto
from .backpack import BackPACK
from .func import Func
from .hooks import Hooks

__all__ = ["Auto", "BackPACK", "Captured", "Choice", "Draw", "Engine", "Func", "Hooks", "Moments"]
