"""Engines: how per-sample quantities are computed. Same numbers, different cost.

Observations call in with a bound problem; rows, moments and Kronecker factors come out. Nothing here knows of metrics.
"""

from .abstract import Captured, Choice, Draw, Engine, Moments
from .auto import Auto
from .backpack import BackPACK
from .func import Func
from .hooks import Hooks

__all__ = ["Auto", "BackPACK", "Captured", "Choice", "Draw", "Engine", "Func", "Hooks", "Moments"]
